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
        sync_file(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Put the content of a file on the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk."""
    if os.name == "posix":  # Elsewhere folders cannot be opened.
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
