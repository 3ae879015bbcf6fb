"""xxh3_128 by its C functions: the hash of the package, from Python and where the functions are hidden."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash

from dask_aesthetic.io import xxh3


@pytest.mark.parametrize("hidden", [False, True])
def test_the_hash_is_that_of_the_package(monkeypatch, hidden):
    if hidden:
        monkeypatch.setattr(xxh3, "_library", lambda: None)
    content = np.random.default_rng(0).bytes(1_000_000)
    for size in (0, 1, 16, 240, 241, 1000, 999_999):
        found, at = xxh3.Xxh3(), 0
        assert bool(found.function) == bool(found.state)
        for step in (0, 1, 7, 64, 300, 100_000, 1_000_000):
            part = content[at : min(at + step, size)]
            found.update(memoryview(bytearray(part)))
            at += len(part)
        assert found.hexdigest() == xxhash.xxh3_128_hexdigest(content[:size])


def test_wheels_show_the_functions():
    assert xxh3.Xxh3().function or xxhash.__file__.startswith("/usr/lib")
