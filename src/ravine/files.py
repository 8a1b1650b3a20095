"""Runs the file, or imports the module, that contains a user's rule.

Looking up "path/to/mine.py:lion" runs mine.py, as an import would; modules in its folder can be
imported while it runs. The logger "ravine" says, at level INFO, which file is run. A file is run
again when it, or a module from its folder that it imported, has changed.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import RLock
from types import ModuleType

from ravine.rule import RuleError

__all__ = ["exists", "failure", "is_file", "load", "sources"]

_HOW = "a rule of your own is named as path/to/file.py:name"
_log = logging.getLogger("ravine")
_lock = RLock()
_running: list[Path] = []


@dataclass
class _Loaded:
    module: ModuleType
    neighbours: dict[
        str, ModuleType
    ]  # kept here, because in sys.modules they would clash with those of other files
    digests: dict[Path, bytes]


_loaded: dict[Path, _Loaded] = {}


def is_file(place: str) -> bool:
    """Whether a place means a file rather than a module."""
    return place.endswith(".py") or "/" in place or "\\" in place or exists(place)


def exists(place: str | Path, folder: bool = False) -> bool:
    """Whether a file or folder of that name exists."""
    try:
        return Path(place).is_dir() if folder else Path(place).is_file()
    except (OSError, ValueError):  # too long for a path
        return False


def load(place: str) -> ModuleType:
    """The module that a place names: a file, or a module by its dotted name.

    Raises LookupError if there is none, or if it cannot be run: with its file, its line, and the error.
    A RuleError is passed on.
    """
    if is_file(place):
        with _lock:
            return _file(place)
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", place):
        raise LookupError(_no_module(place))
    try:
        if place not in sys.modules:
            _log.info("importing %s", place)
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if place != error.name and not place.startswith(f"{error.name}."):
            raise failure(place, error) from error
        raise LookupError(_no_module(place)) from error
    except (Exception, SystemExit) as error:
        raise failure(place, error) from error


def sources(place: str) -> dict[str, bytes]:
    """What :func:`load` ran of a file: its text and those of modules from its folder, by name."""
    loaded = _loaded.get(Path(os.path.expanduser(place)).resolve())
    return {path.name: path.read_bytes() for path in loaded.digests} if loaded else {}


def _no_module(place: str) -> str:
    file = f"{place}.py"
    if exists(file):
        return f"no module {place!r}; a rule in the file {file} is named as {file}:NAME"
    if exists(place, folder=True):
        return f"{place!r} is a folder; {_HOW}"
    return f"no module {place!r}"


def _file(place: str) -> ModuleType:
    path, wrong = Path(os.path.expanduser(place)), ""  # which leaves an unknown ~user as it is
    if not exists(path):
        wrong = f"{place!r} is a folder" if exists(path, folder=True) else f"no file {place!r}"
    elif path.suffix != ".py":
        wrong = f"{place!r} is not a Python file"
    if wrong:
        raise LookupError(f"{wrong}; {_HOW}")
    path = path.resolve()
    before = _loaded.get(path)
    if before and all(_digest(p) == digest for p, digest in before.digests.items()):
        return before.module
    if path in _running:
        raise LookupError(f"{place} is looked up by its own code while it is being loaded")
    _log.info("running %s", place)
    loaded = _run(place, path)
    _loaded[path] = loaded
    return loaded.module


def _run(place: str, path: Path) -> _Loaded:
    source = path.read_bytes()
    name = f"ravine_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path, loader=SourceFileLoader(name, str(path)))
    assert spec
    module, before = module_from_spec(spec), sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look it up there
    _running.append(path)
    try:
        with _importable(path.parent) as neighbours:
            # Run what was read: cached bytecode can be up to a second out of date.
            exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    except BaseException as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        if isinstance(error, (Exception, SystemExit)):
            raise failure(place, error, path.parent) from error
        raise
    finally:
        _running.pop()
    files = [Path(m.__file__) for m in neighbours.values() if m.__file__]
    digests = {path: hashlib.sha256(source).digest(), **{p: _digest(p) for p in files}}
    return _Loaded(module, neighbours, digests)


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""


@contextmanager
def _importable(folder: Path) -> Iterator[dict[str, ModuleType]]:
    """While a file of the folder runs, modules in the folder are found first, as with `python file.py`.

    Afterwards they are moved from sys.modules to the dict that is yielded, since another folder may
    have a module of the same name.
    """
    names = {p.stem for p in folder.glob("*.py")} | {
        p.parent.name for p in folder.glob("*/__init__.py")
    }
    # A `utils` that the program imported from another folder is not this file's `utils`.
    aside = {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in names
        and _of_the_program(name, module)
        and not _below(folder, module)
    }
    for name in aside:
        del sys.modules[name]
    before, writes = {*sys.modules}, sys.dont_write_bytecode
    neighbours: dict[str, ModuleType] = {}
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield neighbours
    finally:
        sys.dont_write_bytecode = writes
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name in {*sys.modules} - before:
            if name.partition(".")[0] in names and _below(folder, sys.modules[name]):
                neighbours[name] = sys.modules.pop(name)
        sys.modules.update(aside)


def _of_the_program(name: str, module: ModuleType) -> bool:
    """Whether it is not part of Python, of an installed package, or of Ravine."""
    top, file = name.partition(".")[0], getattr(module, "__file__", None)
    if not file or top in sys.stdlib_module_names or top in ("ravine", "__main__"):
        return False
    return not {"site-packages", "dist-packages"} & {*Path(file).parts}


def _below(folder: Path, module: ModuleType) -> bool:
    """Whether it was found in the folder, under its own name."""
    file, place = getattr(module, "__file__", None), folder / module.__name__.replace(".", "/")
    return bool(file) and Path(str(file)) in (place.with_suffix(".py"), place / "__init__.py")


def failure(place: str, error: BaseException, folder: Path | None = None) -> Exception:
    """The error for a place whose code raised one: the file, the line, and the original error.

    folder: where to look for the line; by default in all code except this library's.
    """
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SystemExit):
        what = f"it calls sys.exit({'' if error.code is None else repr(error.code)})"
    where = ""
    if isinstance(error, SyntaxError) and error.filename:
        where, what = (
            f"{error.filename}, line {error.lineno}: ",
            f"{type(error).__name__}: {error.msg}",
        )
    else:
        here = Path(__file__).parent
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            parents = Path(frame.filename).parents
            if (
                folder in parents
                if folder
                else here not in parents and "importlib" not in frame.filename
            ):
                where = f"{frame.filename}, line {frame.lineno}: "
                break
    kind = RuleError if isinstance(error, RuleError) else LookupError
    return kind(f"{place} cannot be run: {where}{what}")
