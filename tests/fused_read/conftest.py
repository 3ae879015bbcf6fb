"""Folders of Parquet files."""

from __future__ import annotations

import pytest

from helpers.parquet_frames import make_folders


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("parquet"))
