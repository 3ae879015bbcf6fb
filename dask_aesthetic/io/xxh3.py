"""xxh3_128 and xxh3_64 by the C functions in the package xxhash, where it shows them, which compiled code can call."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import import_module
from typing import Any

import xxhash


class _Hash(ctypes.Structure):
    _fields_ = (("low", ctypes.c_uint64), ("high", ctypes.c_uint64))


class Xxh3:
    """Hash of bytes that come part by part.

    Attributes
    ----------
    function, state : int
        Addresses of a C function ``int(state, bytes, size)`` that adds bytes, and of its state; 0 where there is none.
    """

    def __init__(self) -> None:
        library = _library()
        self._other: Any = xxhash.xxh3_128() if library is None else None
        self.function = self.state = 0
        if library is not None:
            self._library = library
            self.state = library.XXH3_createState()
            if not self.state:
                raise MemoryError
            library.XXH3_128bits_reset(self.state)
            self.function = ctypes.cast(library.XXH3_128bits_update, ctypes.c_void_p).value or 0

    def update(self, data: memoryview) -> None:
        """Add bytes."""
        if self._other is not None:
            self._other.update(data)
        elif len(data):
            self._library.XXH3_128bits_update(self.state, ctypes.addressof(ctypes.c_char.from_buffer(data)), len(data))

    def hexdigest(self) -> str:
        """The hash, as of `xxhash.xxh3_128`."""
        if self._other is not None:
            return str(self._other.hexdigest())
        found = self._library.XXH3_128bits_digest(self.state)
        return f"{found.high:016x}{found.low:016x}"

    def __del__(self) -> None:
        if getattr(self, "state", 0):
            self._library.XXH3_freeState(self.state)


@cache
def hash64_function() -> int:
    """Address of the C function ``uint64(bytes, size)`` that gives xxh3_64; 0 where there is none."""
    library = _library()
    try:
        function = library.XXH3_64bits
        function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_uint64
        known = function(text := b"dask_aesthetic" * 100, len(text)) == xxhash.xxh3_64_intdigest(text)
    except AttributeError:
        return 0
    return (ctypes.cast(function, ctypes.c_void_p).value or 0) if known else 0


@cache
def _library() -> Any:
    """The package's C functions, None where it hides them or they hash otherwise."""
    try:
        library = ctypes.CDLL(import_module("xxhash._xxhash").__file__)
        library.XXH3_createState.restype = ctypes.c_void_p
        library.XXH3_freeState.argtypes = library.XXH3_128bits_reset.argtypes = [ctypes.c_void_p]
        library.XXH3_128bits_update.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        library.XXH3_128bits_digest.argtypes, library.XXH3_128bits_digest.restype = [ctypes.c_void_p], _Hash
        state = library.XXH3_createState()
        library.XXH3_128bits_reset(state)
        library.XXH3_128bits_update(state, (text := b"dask_aesthetic" * 100), len(text))
        found = library.XXH3_128bits_digest(state)
        library.XXH3_freeState(state)
    except (ImportError, AttributeError, OSError, TypeError):
        return None
    return library if f"{found.high:016x}{found.low:016x}" == xxhash.xxh3_128_hexdigest(text) else None
