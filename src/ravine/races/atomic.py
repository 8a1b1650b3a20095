"""Files that are either complete or absent, even if other processes write them or writing is interrupted."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

__all__ = ["aside", "sweep", "write"]

_ABANDONED = 3600.0  # seconds; a file is written in a fraction of one


def write(path: Path, data: bytes) -> Path:
    """Write a file under a temporary name, flush it to disk, then rename it.

    Raises OSError, naming the file; then nothing of it remains, and an earlier version is unchanged.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if not isinstance(error, OSError):
            raise
        named = type(error)(f"{path} cannot be written ({error.strerror or error})")
        named.errno = error.errno
        raise named from error
    return path


def aside(path: Path, word: str) -> Path:
    """Rename a file or folder to its name plus ".word", with a number if that is taken."""
    names = (path.with_name(f"{path.name}.{word}{n or ''}") for n in count())
    kept = next(name for name in names if not os.path.lexists(name))
    with suppress(FileNotFoundError):  # another process was faster
        path.rename(kept)
    return kept


def sweep(folder: Path) -> None:
    """Remove the unfinished files of processes that were killed."""
    for path in folder.glob(".*.part"):
        with suppress(OSError):  # another process may be faster
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
