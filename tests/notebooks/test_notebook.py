"""The lesson: chapters made from their scripts, executed, and true in what their text says."""

import itertools
import json
import re
import runpy
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
MAKE = runpy.run_path(str(ROOT / "scripts" / "make_notebook.py"))
CHAPTERS = MAKE["CHAPTERS"]
SCRIPTS = {script.stem: script.read_text("utf-8") for script in CHAPTERS}
COMMITTED = {
    script.stem: nbformat.read(script.with_suffix(".ipynb"), as_version=4) for script in CHAPTERS
}
every_chapter = pytest.mark.parametrize("chapter", SCRIPTS)

# What the text says in numbers, and where each number comes from: f-strings over a chapter's names.
CLAIMS = {
    "01_hill": {
        "the step is 0.8 long": "the step is {a - sgd(a, slope(a), lr=0.2):.1f} long",
        "we land at B, at 1.2": "we land at B, at {sgd(a, slope(a), lr=0.2):.1f}",
        "a height of 0.8 at B": "a height of {promised:.1f} at B",
        "the ball arrives at 1.44": "the ball arrives at {hill(1.2):.2f}",
    },
    "02_batches": {
        "16,000 diamonds to train on": "{len(x):,} diamonds to train on",
        "has looked at 3,200,000 rows": "has looked at {200 * len(x):,} rows",
    },
    "03_landscapes": {
        "Around 1.5, where 84% of the balls": (
            "Around 1.5, where {(changed_sides(0.946, 1.5) + 1 - changed_sides(-1.047, 1.5)) / 2:.0%}"
            " of the balls"
        ),
        "and the pit, where 4 is already too much": (
            "and the pit, where {2 / pit_gradient(np.array([1e-6, 0]))[0] * 1e-6:.0f} is already too "
            "much"
        ),
    },
    "04_momentum": {
        "b = 0.9 × 0.5 + 0.3 = 0.75": (
            "b = 0.9 × 0.5 + 0.3 = {worked(momentum, (0.5, 0.3))[1]['b']:.2f}"
        ),
    },
    "05_rmsprop": {
        "v = 0.01 × 0.5² = 0.0025": "v = 0.01 × 0.5² = {worked(rms, (0.5,))[0]['v']:.4f}",
        "1 instead of 0.1": "{replay(rms, [0.5], lr=0.1)[0]:.0f} instead of 0.1",
        "a distance of `lr`/2": "a distance of `lr`/{0.05 / abs(rms_path[-100:, 1]).max():.0f}",
    },
    "06_adam": {
        "m = 0.1 × 0.5 = 0.05": "m = 0.1 × 0.5 = {worked(adam, (0.5,))[0]['m']:.2f}",
        "first is 3.2 times `lr`": "first is {off[0]:.1f} times `lr`",
        "twelfth 6.6 times": "twelfth {off[11]:.1f} times",
    },
    "07_friends": {
        "For Adam, chapter 6 found 3.16 times": (
            "For Adam, chapter 6 found {replay(adam, spike, lr=1.0, eps=1e-12).max():.2f} times"
        ),
        "Adagrad moves it an eighth as far": (
            "Adagrad moves it an {'eighth' if round(replay(adagrad, often, lr=1.0).sum() / "
            "replay(adagrad, rarely, lr=1.0).sum()) == 8 else '?'} as far"
        ),
    },
    "08_schedules": {},
    "09_diamonds": {
        "between 1,569.70 and 1,570.97 dollars": (
            "between {min(ends):,.2f} and {max(ends):,.2f} dollars"
        ),
        "least squares gives 1,569.81": "least squares gives {floor['least squares']:,.2f}",
        "up to 1,692 dollars": "up to {max(r['rmse_max'] for r in rows):,.0f} dollars",
        "between 3 epochs": "between {min(r['epochs_min'] for r in rows)} epochs",
        "and all 10,000": "and all {max(r['epochs_max'] for r in rows):,}",
    },
    "10_figure_1": {
        "the network has 5,994 parameters": (
            "the network has {sum(p.numel() for p in figure1.network().parameters()):,} parameters"
        ),
        "147 batches of 64": "{figure1.ITERATIONS} batches of {figure1.BATCH_SIZE}",
        "from 0.74 to 2.31": (
            "from {figure1.running_means(clothes, 'RMSprop')[0, -1]:.2f} to "
            "{figure1.running_means(clothes, 'SGD')[0, -1]:.2f}"
        ),
    },
    "11_faults": {
        "7,737 dollars per carat": "{best_m * sample.std[1] / sample.std[0]:,.0f} dollars per carat",
    },
    "12_which": {},
}

# Cells put around a chapter: they time every cell in seconds of the processor, of which other work
# on the machine takes nothing away, and tell what the claims come to.
BEFORE = """import time
clock = [time.process_time()]
get_ipython().events.register("post_run_cell", lambda _: clock.append(time.process_time()))"""
AFTER = """import json
from ravine.reading.worked import worked
claims = {claims!r}
print(json.dumps([[eval("f" + repr(claim)) for claim in claims], clock]))"""


@every_chapter
def test_the_notebook_is_the_script(chapter):
    made = MAKE["convert"](SCRIPTS[chapter])
    for a, b in zip(COMMITTED[chapter].cells, made.cells, strict=True):
        assert (a.cell_type, a.id, a.source) == (b.cell_type, b.id, b.source)
        assert a.metadata == b.metadata
    nbformat.validate(COMMITTED[chapter])


def test_convert():
    script = (
        "for tools\n# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1\n\n\n# a comment\n\n"
        "# %% [figure]\nplot()\n"
    )
    cells = MAKE["convert"](script).cells
    assert [(c.cell_type, c.source, bool(c.metadata)) for c in cells] == [
        ("markdown", "# Title\n\ntext", False),
        ("code", "x = 1\n\n\n# a comment", False),
        ("code", "plot()", True),
    ]
    with pytest.raises(ValueError, match="cell 2 begins with '# %% \\[raw\\]'"):
        MAKE["convert"]("# %%\n# %% [raw]\n")


@every_chapter
def test_a_chapter_is_numbered_folded_and_short(chapter):
    notebook, number = COMMITTED[chapter], int(chapter[:2])
    assert notebook.cells[0].source.startswith(f"# {number} ")
    assert f"# Chapter {number} of" in SCRIPTS[chapter]
    prose = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "**Exercise 1.**" in prose
    shown = [cell for cell in code(notebook) if not cell.metadata]
    assert not [cell.source for cell in shown if "plt.show()" in cell.source], "is not folded"
    lines = sum(cell.source.count("\n") + 1 for cell in shown)
    minutes = len(prose.split()) / 200 + lines / 20  # of silent reading, and of reading code
    assert minutes < 15


def test_each_chapter_opens_the_explorer_in_a_state_of_its_own():
    states = [
        cell.source
        for notebook in COMMITTED.values()
        for cell in code(notebook)
        if cell.source.startswith("explore(")
    ]
    assert len({*states}) == len(states) == len(COMMITTED)


def test_the_chapters_are_numbered_in_order_and_each_has_claims():
    assert [int(name[:2]) for name in SCRIPTS] == list(range(1, len(SCRIPTS) + 1))
    assert set(CLAIMS) == set(SCRIPTS)


@every_chapter
def test_the_committed_outputs_are_complete_and_small(chapter):
    for cell in code(COMMITTED[chapter]):
        assert cell.execution_count is not None
        assert [o for o in cell.outputs if o.output_type == "error"] == []
    assert (ROOT / "notebooks" / f"{chapter}.ipynb").stat().st_size < 1e6


def test_there_are_pictures():
    assert sum(pictures(cell) for each in COMMITTED.values() for cell in code(each)) >= 20


def test_the_training_loop_is_the_example():
    example = (ROOT / "examples" / "train_pytorch.py").read_text("utf-8")
    _, _, function = example.partition("\n\n\n")
    function, _, _ = function.partition("\n\n\n")
    assert function.startswith("def train(")
    assert function in SCRIPTS["08_schedules"]


@every_chapter
def test_it_runs_and_gives_the_committed_outputs(chapter):
    """Execute it with the exercises' answers at their places, and compare every output."""
    lesson = MAKE["convert"](SCRIPTS[chapter])
    new = nbformat.v4.new_code_cell
    answers = [(new(source), shown) for cell in lesson.cells for source, shown in folded(cell)]
    assert answers
    waiting = iter(answers)
    cells = [new(BEFORE)]
    for cell in lesson.cells:
        cells += [cell, *(next(waiting)[0] for _ in folded(cell))]
    claims = CLAIMS[chapter]
    cells.append(new(AFTER.format(claims=list(claims.values()))))
    MAKE["execute"](nbformat.v4.new_notebook(cells=cells), timeout=300)

    for cell, before in zip(code(lesson), code(COMMITTED[chapter]), strict=True):
        assert_same(text(cell), text(before))
        assert pictures(cell) == pictures(before)
    for cell, shown in answers:
        assert_same(text(cell), shown)

    found, clock = json.loads(text(cells[-1]))
    assert found == list(claims)
    prose = " ".join(c.source for c in COMMITTED[chapter].cells if c.cell_type == "markdown")
    assert [claim for claim in claims if claim not in " ".join(prose.split())] == []
    seconds = [b - a for a, b in itertools.pairwise(clock)]
    assert len(seconds) > len(code(lesson)) + len(answers)
    assert max(seconds) < 30
    assert sum(seconds) < 60


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def folded(cell):
    """Return the answers that are folded away in a cell: pairs of code and what it prints."""
    if cell.cell_type != "markdown":
        return []
    return re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", cell.source, re.DOTALL)


def text(cell):
    """Return what a cell printed and showed, except pictures."""
    shown = []
    for output in cell.outputs:
        if output.output_type == "stream":
            assert output.name == "stdout", output.text
            shown.append(output.text)
        elif "image/png" not in output.data:
            data = output.data
            shown.append(data.get("text/markdown") or data.get("text/latex") or data["text/plain"])
    return "".join(shown)


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def assert_same(got, expected):
    """Compare two texts: the words exactly, the numbers up to what another processor may do."""
    number = re.compile(r"-?\d+(?:[.,]\d+)*(?:e[-+]\d+)?")
    assert number.sub("#", got) == number.sub("#", expected)
    a, b = ([float(x.replace(",", "")) for x in number.findall(t)] for t in (got, expected))
    assert a == pytest.approx(b, rel=2e-3, abs=1e-6)
