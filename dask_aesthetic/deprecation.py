"""Warnings about public names and arguments that will go; docs/versions.md says how long they work."""

from __future__ import annotations

import warnings


def warn_deprecated(old: str, new: str, since: str, stacklevel: int = 3) -> None:
    """Warn that a name or argument is deprecated, at the caller of the function that calls this one.

    Parameters
    ----------
    old, new : str
        As users write them: ``read_scored()``, ``score(output=...)``; `new` may say what to do instead.
    since : str
        Version that deprecates it.
    stacklevel : int
        As in `warnings.warn`, counted from here.
    """
    message = f"{old} is deprecated since dask-aesthetic {since} and will be removed: use {new}"
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)
