"""DataComp's subset files: sorted pairs of the two halves of each 128-bit uid."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dask_aesthetic.errors import InputError

DTYPE = np.dtype("u8,u8")  # As DataComp's resharder reads it.
DIGITS = 32
_NIBBLES = np.full(256, 255, np.uint8)
for _at, _digit in enumerate("0123456789abcdef"):
    _NIBBLES[[ord(_digit), ord(_digit.upper())]] = _at


def parse_uids(uids: Any) -> np.ndarray:
    """Pairs of the upper and the lower 64 bits of uids of up to 32 hexadecimal digits; nulls are left out.

    Raises
    ------
    InputError
        A uid is something else.

    Examples
    --------
    >>> parse_uids(pa.array(["0000000000000001000000000000000f", None])).tolist()
    [(1, 15)]
    """
    texts = pc.ascii_lpad(uids.cast(pa.string()), DIGITS, "0").drop_null()
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    wrong = pc.not_equal(pc.binary_length(texts), DIGITS).to_numpy(zero_copy_only=False)
    if wrong.any():
        raise _no_uid(texts, wrong)
    digits = texts.cast(pa.binary(DIGITS)).buffers()[1] if len(texts) else b""
    nibbles = _NIBBLES[np.frombuffer(digits, np.uint8, len(texts) * DIGITS)].reshape(-1, DIGITS)
    wrong = (nibbles == 255).any(axis=1)
    if wrong.any():
        raise _no_uid(texts, wrong)
    pairs = np.zeros(len(texts), DTYPE)
    for name, half in (("f0", nibbles[:, : DIGITS // 2]), ("f1", nibbles[:, DIGITS // 2 :])):
        for digit in half.T:
            pairs[name] = pairs[name] << np.uint64(4) | digit
    return pairs


def write_subset(path: Path, parts: Iterable[np.ndarray]) -> int:
    """Number of distinct uids after they are written in order."""
    pairs = np.concatenate([np.zeros(0, DTYPE), *parts])
    pairs = pairs[np.lexsort((pairs["f1"], pairs["f0"]))]  # Much faster than a sort of pairs.
    if len(pairs):
        pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])]
    with path.open("wb") as stream:  # np.save would add a suffix to the name of a path.
        np.save(stream, pairs)
    return len(pairs)


def _no_uid(texts: pa.Array, wrong: np.ndarray) -> InputError:
    first = texts[int(np.flatnonzero(wrong)[0])].as_py()
    return InputError(f"expected uids of up to {DIGITS} hexadecimal digits, as of DataComp, got {first!r}")
