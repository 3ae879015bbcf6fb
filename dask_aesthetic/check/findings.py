"""Finding of a check: its level, its text, and the advice."""

from __future__ import annotations

from dataclasses import dataclass

NOT_USABLE, CAUTION, NOTE = "not usable", "caution", "note"
LEVELS = (NOT_USABLE, CAUTION, NOTE)  # The gravest first.
NOTHING = "nothing"  # Advice of a finding that needs no action.


@dataclass(frozen=True)
class Finding:
    """Property of a column that matters for scoring.

    Attributes
    ----------
    level : {"not usable", "caution", "note"}
    what : str
    do : str
        Advice.
    """

    level: str
    what: str
    do: str
