"""Safe reading of checkpoint files: tensors only, never code."""

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
MOST_HEADER = 100_000_000  # The limit of safetensors itself.


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors of a safetensors file or a torch checkpoint, on the CPU, and the header of the former.

    The content decides the format. Torch checkpoints are loaded by ``weights_only``, which refuses other objects than
    tensors and containers.

    Raises
    ------
    PredictorError
        The file is missing, truncated or of another kind, which the message names.
    """
    head = read_head(path)
    if not _header_length(head):
        return _torch_tensors(path), {}
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise PredictorError(
            f"expected a complete safetensors file at {path}, got one that is truncated or foreign: {error}"
        ) from error


def read_head(path: Path) -> bytes:
    """First bytes of a checkpoint.

    Raises
    ------
    PredictorError
        The file is missing or begins like a file of another kind, which the message names.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # A pipe may never end.
            raise PredictorError(f"expected a checkpoint at {path}, got a pipe or device")
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise PredictorError(f"expected a checkpoint at {path}, got {error.strerror or error}") from error
    wrong = _other_kind(head, path.stat().st_size)
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
            warnings.simplefilter("ignore")  # torch warns before it refuses.
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PredictorError(
            f"expected tensors alone in {path}, got a file that asks to run code when loaded, is damaged or is no "
            "checkpoint; it was not run. Save the model's state_dict, or a safetensors file, instead"
        ) from error
    except Exception as error:  # Damaged pickles raise errors of any kind.
        raise PredictorError(
            f"expected a complete torch checkpoint at {path}, got one that is truncated or foreign: {first_line(error)}"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict):
        raise PredictorError(f"expected a state dict in {path}, got {type(state).__name__}")
    return dict(state)


def _other_kind(head: bytes, size: int) -> str:
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
        return "" if 8 + length <= size else f"a safetensors file truncated inside its header ({size:,} bytes)"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return ""
    if re.match(rb'\{\s*["}]|\[\s*["{\[\]\d]', text):
        return "a JSON document"
    return f"a file of another kind ({size:,} bytes, beginning {head[:12]!r})"


def _header_length(head: bytes) -> int:
    # Checked first: the length of a safetensors header may begin with the first byte of a pickle.
    length = int.from_bytes(head[:8], "little")
    return length if head[8:9] == b"{" and length <= MOST_HEADER else 0
