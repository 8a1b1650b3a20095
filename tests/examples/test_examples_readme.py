from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_example_is_listed_and_tested():
    text = (ROOT / "examples/README.md").read_text("utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        assert f"[{path.name}]({path.name})" in text
        assert (ROOT / f"tests/examples/test_{path.stem}.py").exists()
