"""Make the chapters' notebooks of the scripts in notebooks/, and execute them.

    python scripts/make_notebook.py            # all
    python scripts/make_notebook.py 03 adam    # those whose names contain one of these

A chapter is written in the .py file, where a change can be read line by line: a line that begins with
`# %%` starts a cell, `# %% [markdown]` one of text, whose lines are comments, and `# %% [figure]` one
that draws, whose code is folded. What stands above the first cell is for tools alone. Needs nbclient,
nbformat and ipykernel.
"""

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode, v4

FOLDER = Path(__file__).parents[1] / "notebooks"
CHAPTERS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
FOLDED = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}


def convert(source: str) -> NotebookNode:
    """Make a notebook, without outputs, of a script in percent format."""
    _, *parts = re.split(r"^# %%", source, flags=re.MULTILINE)
    cells = []
    for number, part in enumerate(parts, 1):
        kind, _, body = part.partition("\n")
        if kind.strip() == "[markdown]":
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.split("\n"))
            cell = v4.new_markdown_cell(text.strip())
        elif kind.strip() in ("", "[figure]"):
            cell = v4.new_code_cell(body.strip(), metadata=FOLDED if kind.strip() else {})
        else:
            raise ValueError(
                f"cell {number} begins with '# %%{kind}'; only [markdown] and [figure] are known"
            )
        cell.id = f"cell-{number}"
        cells.append(cell)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return v4.new_notebook(cells=cells, metadata=metadata)


def execute(notebook: NotebookNode, **options: Any) -> NotebookNode:
    """Run every cell in a new kernel of this Python, beside lesson.py, and keep the outputs.

    options: of nbclient.NotebookClient. Raises CellExecutionError where a cell raises.
    """
    options = {
        "kernel_name": "python3",
        "coalesce_streams": True,
        "record_timing": False,
        "resources": {"metadata": {"path": str(FOLDER)}},
    } | options
    NotebookClient(notebook, **options).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the version, which changes
    return notebook


def main(words: list[str]) -> None:
    for script in CHAPTERS:
        if not words or any(word in script.stem for word in words):
            notebook = execute(convert(script.read_text("utf-8")), timeout=120)
            path = script.with_suffix(".ipynb")
            nbformat.write(notebook, path)
            size = path.stat().st_size / 1e6
            print(f"{path.name}: {len(notebook.cells)} cells, {size:.1f} MB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
