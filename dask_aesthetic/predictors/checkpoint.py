"""Reading checkpoint files: tensors alone, never code."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from dask_aesthetic.errors import PredictorError, first_line

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".ckpt")
MOST_HEADER = 100_000_000  # What safetensors itself takes; other files that happen to fit the pattern say more.


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file or a torch checkpoint, on the CPU, and the header of the former.

    The kind is read off the content. A torch checkpoint is loaded by ``weights_only``; one that holds more than
    tensors and plain containers is refused.

    Raises
    ------
    PredictorError
        The file is not there, is something else, or is cut off; the message says what it is.
    """
    head = read_head(path)
    if not _header_length(head):
        return _torch_tensors(path), {}
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise PredictorError(
            f"expected a whole safetensors file at {path}, got one that is cut off or foreign: {error}"
        ) from error


def read_head(path: Path) -> bytes:
    """The first bytes of a checkpoint.

    Raises
    ------
    PredictorError
        The file is not there, or begins as something else does; the message says what it is.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise PredictorError(f"expected a checkpoint at {path}, got {error.strerror or error}") from error
    wrong = _what_else(head, path.stat().st_size)
    if wrong:
        raise PredictorError(f"expected a checkpoint at {path}, got {wrong}")
    return head


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _torch_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what it then refuses.
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PredictorError(
            f"expected tensors alone in {path}, got a file that asks to run code when loaded, is damaged or is no "
            "checkpoint; it was not run. Save the model's state_dict, or a safetensors file, instead"
        ) from error
    except Exception as error:  # A damaged pickle raises whatever its bytes happen to ask for.
        raise PredictorError(
            f"expected a whole torch checkpoint at {path}, got one that is cut off or foreign: {first_line(error)}"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict):
        raise PredictorError(f"expected a state dict in {path}, got {type(state).__name__}")
    return dict(state)


def _what_else(head: bytes, size: int) -> str:
    text = head.lstrip().lower()
    if size == 0:
        return "an empty file"
    if text.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, which stands for the file: run 'git lfs pull' or download the file itself"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, such as a failed download saves"
    if text.startswith(b"<?xml"):
        return "an XML page, such as a failed download saves"
    if length := _header_length(head):
        return "" if 8 + length <= size else f"a safetensors file cut off inside its header ({size:,} bytes)"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return ""
    if re.match(rb'\{\s*["}]|\[\s*["{\[\]\d]', text):
        return "a JSON document"
    return f"a file of another kind ({size:,} bytes, beginning {head[:12]!r})"


def _header_length(head: bytes) -> int:
    # Asked first, since the length of a safetensors header may begin with the byte that a pickle begins with.
    length = int.from_bytes(head[:8], "little")
    return length if head[8:9] == b"{" and length <= MOST_HEADER else 0
