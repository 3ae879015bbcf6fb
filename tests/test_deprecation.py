"""A deprecation names the old and the new, and points at the user's line."""

from __future__ import annotations

import pytest

from dask_aesthetic.deprecation import warn_deprecated


def renamed():
    warn_deprecated("renamed()", "named()", since="0.2")


def test_a_deprecation_names_its_replacement_at_the_callers_line():
    with pytest.warns(FutureWarning, match=r"renamed\(\) is deprecated since dask-aesthetic 0\.2 .* use named\(\)") as seen:
        renamed()
    assert seen[0].filename == __file__
    assert seen[0].lineno == renamed.__code__.co_firstlineno + 6
