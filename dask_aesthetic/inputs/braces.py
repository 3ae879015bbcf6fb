"""Names with braces, as shells and webdataset write them: many names in one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from math import prod

from dask_aesthetic.errors import InputError

MOST = 1_000_000
_GROUP = re.compile(r"\{([^{}]*,[^{}]*|\d+\.\.\d+)\}")


def expand(name: str) -> list[str]:
    """The names that one with braces stands for, in a shell's order; braces in braces are none.

    Raises
    ------
    InputError
        There are more than a million.

    Examples
    --------
    >>> expand("cc3m-{a,b}/{08..10}.tar")
    ['cc3m-a/08.tar', 'cc3m-a/09.tar', 'cc3m-a/10.tar', 'cc3m-b/08.tar', 'cc3m-b/09.tar', 'cc3m-b/10.tar']
    >>> expand("{one}.tar")
    ['{one}.tar']
    """
    pieces = _GROUP.split(name)
    choices = [_choices(piece) if at % 2 else (piece,) for at, piece in enumerate(pieces)]
    count = prod(map(len, choices))
    if count > MOST:
        raise InputError(f"expected braces that stand for at most {MOST:,} names, got {count:,} of {name!r}")
    widths = [_width(piece) if at % 2 else 0 for at, piece in enumerate(pieces)]
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
    """Digits of a range's numbers, where one of its ends begins with a nought."""
    ends = group.split("..")
    return max(map(len, ends)) if "," not in group and any(end.startswith("0") for end in ends) else 0
