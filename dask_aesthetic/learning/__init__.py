"""Thresholds and predictors from what people say of pictures."""

from __future__ import annotations
