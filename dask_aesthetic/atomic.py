"""Atomic and durable file writes: a file appears complete, and survives a loss of power."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file atomically; readers see the previous file until the new one is complete and on disk.

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
    """Rename a complete file over another of the same folder; file and folder are on disk on return."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, target)
    if os.name == "posix":  # Elsewhere folders cannot be opened.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
