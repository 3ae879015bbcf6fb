"""Verbs that learn from what people said of a frame's rows."""

from __future__ import annotations

from typing import Any


class Learning:
    """Verbs that give thresholds and predictors: they compute at once."""

    _frame: Any
