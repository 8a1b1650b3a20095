"""The workflows, the linters before a commit and the release say the same as .ci/run and the package."""

import re
import subprocess
import sys
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
    asked = re.findall(r"^make ([\w-]+)$", ci, re.MULTILINE)
    asked += re.findall(r"^with \S+ (.*)$", ci, re.MULTILINE)
    others = ["test-gpu", "test-torch VERSION=2.6.0", "test-python VERSION=3.10"]
    assert asked == ["test", "lint", *others]
    ran = re.findall(r"^make (.*)$", commands("tests.yml"), re.MULTILINE)
    more = "test-python VERSION=3.12 EXTRAS=all,test"  # for which CI has no time
    assert [target.removesuffix(" FROM=pypi") for target in ran] == [*asked, more]


def test_the_versions_said_to_be_tested_are_those_of_the_workflow():
    page = (ROOT / "docs/torch-compatibility.md").read_text()
    tested = dict(re.findall(r"^\| (Python|torch) \| (.*?) \|", page, re.MULTILINE))
    workflow = (ROOT / ".github/workflows/tests.yml").read_text()
    pythons = set(re.findall(r'python-version: "(.*?)"', workflow))
    assert set(re.findall(r"3\.\d+", tested["Python"])) == pythons
    newest = re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    oldest = re.search(r"test-torch VERSION=(\S+)", workflow)
    assert re.findall(r"2\.\d+\.\d+", tested["torch"]) == [oldest[1], newest[1]]
    packaging = (ROOT / "pyproject.toml").read_text()
    assert f'requires-python = ">={min(pythons)}"' in packaging


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


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-workflows", ".github/workflows/*.yml"), ("citation-file-format", "CITATION.cff")],
)
def test_files_that_others_read_follow_their_schemas(schema, files):
    pytest.importorskip("check_jsonschema", reason="check-jsonschema comes with the extra dev")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*check, *ROOT.glob(files)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
