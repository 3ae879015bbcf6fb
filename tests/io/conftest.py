"""Fixtures of tests of files."""

from __future__ import annotations

import pytest

from dask_aesthetic.io import pages


@pytest.fixture
def in_pages(monkeypatch) -> None:
    """The first row is worth compiling the reader of Parquet pages."""
    monkeypatch.setattr(pages, "COLD_ROWS", 0)
    monkeypatch.setattr(pages, "_warmup", pages._Warmup())
