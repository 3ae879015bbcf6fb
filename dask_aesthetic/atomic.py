"""Files that appear under their names as wholes, and stay through a loss of power."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file; until it is whole and on disk, its name holds what it held before.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    content : bytes
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        temporary.write_bytes(content)
        replace_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_durably(temporary: Path, target: Path) -> None:
    """Rename a whole file over another of the same folder, both on disk before this returns."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, target)
    if os.name == "posix":  # Elsewhere folders cannot be opened.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
