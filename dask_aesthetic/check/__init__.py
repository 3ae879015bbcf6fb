"""Whether a column holds embeddings that can be scored, and what to do if not."""

from __future__ import annotations
