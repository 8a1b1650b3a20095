"""What mkdocs is told besides mkdocs.yml: the generated pages, and formulas without scripts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from formulas import sheet
from maths import typeset
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from optimizers import EXPLORER
from pages import ROOT, pages, sections

from ravine.explorer import build

log = logging.getLogger("mkdocs.ravine")
_generated: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> None:
    """Make the pages from the source, and give them their places in the navigation.

    There, `folder/*` stands for the folder's generated pages that are not named themselves, by section
    where they have some.
    """
    config.watch += [str(ROOT / name) for name in ("src", "notebooks", "CHANGELOG.md")]
    _generated.clear()
    _generated.update(pages())
    named = {entry for section in config.nav or () for entry in _entries(section)}
    for section in config.nav or ():
        for title, entries in section.items():
            if isinstance(entries, list):
                section[title] = [path for entry in entries for path in _expanded(entry, named)]


def _entries(section: dict[str, Any]) -> list[str]:
    return [path for paths in section.values() for path in paths if isinstance(paths, list)]


def _expanded(entry: str, named: set[str]) -> Iterator[Any]:
    if not entry.endswith("/*"):
        yield entry
        return
    folder, inside = entry.removesuffix("*"), sections()
    paths = {path for path in _generated if path.startswith(folder) and path not in named}
    for section in dict.fromkeys(inside[path] for path in inside if path in paths):
        yield {section: [path for path in inside if inside[path] == section]}
    yield from (path for path in _generated if path in paths and path not in inside)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages to those in docs/, the explorer in their frames, and the formula sheet."""
    for path, content in _generated.items():
        files.append(File.generated(config, path, content=content))
    files.append(File.generated(config, EXPLORER, content=build()))
    files.append(File.generated(config, "lessons/formulas.pdf", content=sheet()))


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Set the page's formulas; one that cannot be set is a warning, and so stops a strict build."""
    try:
        return typeset(html)
    except ValueError as error:
        log.warning("%s: %s", page.file.src_uri, error)
        return html
