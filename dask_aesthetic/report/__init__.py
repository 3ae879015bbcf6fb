"""A page of what scores look like."""

from __future__ import annotations
