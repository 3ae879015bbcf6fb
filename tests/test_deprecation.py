"""A deprecation names the old and the new, and points at the user's line."""

from __future__ import annotations

import linecache

import pytest

from dask_aesthetic.deprecation import warn_deprecated


def renamed():
    warn_deprecated("renamed()", "named()", since="0.2")


def test_a_deprecation_names_its_replacement_at_the_callers_line():
    message = r"renamed\(\) is deprecated since dask-aesthetic 0\.2 .* use named\(\)"
    with pytest.warns(FutureWarning, match=message) as seen:
        renamed()
    assert linecache.getline(seen[0].filename, seen[0].lineno).strip() == "renamed()"
