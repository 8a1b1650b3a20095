"""The workflows, the linters before a commit and the release say the same as .ci/run and the package."""

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra docs")
ROOT = Path(__file__).parents[1]


def commands(name):
    """All that a workflow runs."""
    workflow = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    return "\n".join(step.get("run", "") for step in steps)


def test_the_workflow_runs_what_ci_runs():
    ci = (ROOT / ".ci/run").read_text()
    asked = re.findall(r"^make (\w+)$", ci, re.MULTILINE)
    asked += re.findall(r"^with \S+ (.*)$", ci, re.MULTILINE)
    assert asked == ["test", "lint", "test-torch VERSION=2.6.0", "test-python VERSION=3.10"]
    for target in asked:
        assert f"make {target}" in commands("tests.yml")


def test_every_target_of_a_workflow_and_of_the_guide_is_in_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflows = "\n".join(
        commands(path.name) for path in (ROOT / ".github/workflows").glob("*.yml")
    )
    guide = "\n".join(re.findall(r"^make .*", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([\w-]+)", f"{workflows}\n{guide}", re.MULTILINE))
    assert {"test", "lint", "docs", "dist"} <= named
    assert named <= targets


def test_no_workflow_publishes_or_has_secrets():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        text = path.read_text()
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
        assert not re.search(r"secrets\.|twine|gh-pages|pypi-publish|id-token", text), path.name


def test_the_linters_before_a_commit_are_those_of_make_lint():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    before = {
        hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "") for hook in hooks
    }
    _, _, recipe = (ROOT / "Makefile").read_text().partition("\nlint: ")
    recipe = recipe.partition("\n\n")[0]
    linted = re.findall(r"^\t\$\(BIN\)/(.*)$", recipe, re.MULTILINE)
    assert before == {line.removesuffix(" .") for line in linted}


def test_the_citation_has_the_packages_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert citation["version"] == version[1]
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"]
