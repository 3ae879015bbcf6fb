"""Snappy decompressed in compiled code: what pyarrow's codec gives, or a refusal."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dask_aesthetic.kernels.block_codecs import snappy

GUARD = 64


def opened(packed: bytes, size: int) -> bytes | None:
    """Decompressed bytes, None if refused; nothing behind them is written to."""
    memory = np.full(size + GUARD, 0xA5, np.uint8)
    is_whole = snappy(np.frombuffer(packed, np.uint8), 0, len(packed), memory[:size], size)
    assert (memory[size:] == 0xA5).all()
    return memory[:size].tobytes() if is_whole else None


@pytest.fixture
def texts() -> list[bytes]:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    floats = random.standard_normal(20_000).astype(np.float32)
    words = random.choice(floats[:50], 20_000)
    return [b"", b"a", b"ab" * 1000, bytes(100_000), noise, noise[:59], noise[:60], noise[:61], noise[:300] * 300,
            floats.tobytes(), words.tobytes(), noise[:70_000] + noise[:70_000]]  # fmt: skip


def test_what_pyarrow_compresses(texts):
    for text in texts:
        packed = pa.Codec("snappy").compress(text, asbytes=True)
        assert opened(packed, len(text)) == text
        for size in {len(text) + 1, len(text) + 1000, max(len(text) - 1, 0)} - {len(text)}:
            assert opened(packed, size) is None
        for length in {0, 1, len(packed) // 2, len(packed) - 1}:
            assert length == len(packed) or opened(packed[:length], len(text)) is None
        assert opened(packed + b"\0", len(text)) is None


def test_damage_is_refused_or_gives_what_pyarrow_gives(texts):
    random = np.random.default_rng(1)
    packed = [bytearray(pa.Codec("snappy").compress(text[:3000], asbytes=True)) for text in texts if text]
    same = 0
    for number in range(3000):
        damaged = bytearray(packed[number % len(packed)])
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(len(damaged))] = random.integers(256)
        size = len(texts[1:][number % len(packed)][:3000])
        found = opened(bytes(damaged), size)
        try:
            wanted = pa.Codec("snappy").decompress(bytes(damaged), size, asbytes=True)
        except (OSError, ValueError):
            wanted = None
        if found is not None:
            assert found == wanted
            same += 1
    assert same > 300


@pytest.mark.parametrize(
    ("packed", "size"),
    [
        (b"\x05\x01\x00", 5),  # A copy of what is not there yet.
        (b"\x05\x00a\x01\x02", 5),
        (b"\x05\xf0", 5),  # A literal whose length is missing.
        (b"\x05\xfc\xff\xff\xff\xff", 5),  # One of 4 GiB.
        (b"\x05\x10abc", 5),  # One that ends early.
        (b"\x03\x10abcde", 3),  # More than there should be.
        (b"\xff\xff\xff\xff\xff\xff\x01", 5),
    ],
)
def test_forged_input_is_refused(packed, size):
    assert opened(packed, size) is None
