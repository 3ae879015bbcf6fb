"""Brace expansion of file names, as in shells and webdataset: ``{00000..00099}.tar``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from math import prod

from dask_aesthetic.errors import InputError

MAX_NAMES = 1_000_000
_GROUP = re.compile(r"\{([^{}]*,[^{}]*|\d+\.\.\d+)\}")


def expand(name: str) -> list[str]:
    """Expand the braces of a name into all the names it stands for, in a shell's order.

    Nested braces are not expanded.

    Raises
    ------
    InputError
        The name expands to more than a million names.

    Examples
    --------
    >>> expand("cc3m-{a,b}/{08..10}.tar")
    ['cc3m-a/08.tar', 'cc3m-a/09.tar', 'cc3m-a/10.tar', 'cc3m-b/08.tar', 'cc3m-b/09.tar', 'cc3m-b/10.tar']
    >>> expand("{one}.tar")
    ['{one}.tar']
    """
    pieces = _GROUP.split(name)
    choices = [_choices(piece) if index % 2 else (piece,) for index, piece in enumerate(pieces)]
    count = prod(map(len, choices))
    if count > MAX_NAMES:
        raise InputError(f"expected braces that stand for at most {MAX_NAMES:,} names, got {count:,} of {name!r}")
    widths = [_width(piece) if index % 2 else 0 for index, piece in enumerate(pieces)]
    return [
        "".join(str(piece).zfill(width) for piece, width in zip(chosen, widths, strict=True))
        for chosen in product(*choices)
    ]


def _choices(group: str) -> Sequence[object]:
    if "," in group:
        return group.split(",")
    first, last = map(int, group.split(".."))
    return range(first, last + 1) if first <= last else range(first, last - 1, -1)


def _width(group: str) -> int:
    """Digits of a range's zero-padded numbers; 0 if neither end begins with a zero."""
    ends = group.split("..")
    return max(map(len, ends)) if "," not in group and any(end.startswith("0") for end in ends) else 0
