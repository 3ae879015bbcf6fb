"""Compilation by numba, without the GIL, cached on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba import njit

OPTIONS = {"nogil": True, "error_model": "numpy"}
# Part of the names of cached files: numba looks at a function's own file alone, which may be the same beside others.
# Several versions and processors would give their files one name.
SOURCES = hashlib.sha256(
    b"".join(
        (
            *(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))),
            f"{numba.__version__} {binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}".encode(),
        )
    )
).hexdigest()
inner = njit(**OPTIONS)  # Of functions that compiled code calls.


class cached_jit:  # noqa: N801 (a decorator)
    """Function that is compiled at its first call, and cached where one of numba's folders can be written."""

    def __init__(self, function: Any) -> None:
        function.__qualname__ += f"_{SOURCES[:16]}"
        self._name = function.__qualname__
        self._uncached = njit(**OPTIONS)(function)
        try:
            self.compiled = _checked(njit(cache=True, **OPTIONS)(function))
        except RuntimeError:  # numba found no folder.
            self.compiled = self._uncached

    @property
    def is_ready(self) -> bool:
        """Whether the code is in memory or in the cache, so that a call compiles nothing."""
        if self.compiled.signatures:
            return True
        folder = self.compiled.stats.cache_path
        return folder is not None and any(Path(folder).glob(f"*.{self._name}-*.nbi"))

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.compiled(*arguments)
        except Exception:  # The cache is full or damaged; the functions themselves raise nothing.
            self.leave_cache()
            return self.compiled(*arguments)

    def leave_cache(self) -> None:
        """Compile anew from now on."""
        self.compiled = self._uncached


def _checked(dispatcher: Any) -> Any:
    """Dispatcher that refuses cached code of other types than are asked for.

    numba writes its index of cached code before the code, so a full disk, a kill or another process in between leaves
    the types of the one with the code of the other, which would give wrong numbers.
    """
    compile_types = dispatcher.compile

    def compile_checked(types: Any) -> Any:
        entry = compile_types(types)
        if types not in dispatcher.overloads:
            raise RuntimeError("expected cached code of the types that were asked for")
        return entry

    dispatcher.compile = compile_checked
    return dispatcher
