"""Rule from the text of a command line: ``--keep-if "unsafe<0.1"``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.keep_rule.clause import Clause
from dask_aesthetic.keep_rule.rule import KeepRule

CLAUSE = re.compile(
    r"\s*(?P<column>\"(?:[^\"\\]|\\.)*\"|.+?)\s*(?P<operator>==|!=|<=|>=|=|<|>|(?<=\s)(?:not\s+in|in)(?=[\s\[]))"
    r"(?P<value>.*)",
    re.DOTALL,
)
JOINED = re.compile(r"\s(and|or|&&?|\|\|?)\s.*[<>=]", re.DOTALL | re.IGNORECASE)  # Two clauses in place of a text.


def parse_rule(texts: Sequence[str]) -> KeepRule:
    """Rule from texts of a clause each, which a row must satisfy together; or from JSON as Python spells a rule.

    Parameters
    ----------
    texts : list of str
        A column, an operator and a value: a number, true, false, or a text, with or without double quotes; for in and
        not in a JSON list. Column names that hold an operator stand in double quotes. Or just one text that begins with
        "[": a JSON list of clauses, or of lists of them, for alternatives.

    Raises
    ------
    ArgumentError

    Examples
    --------
    >>> print(parse_rule(["unsafe<0.1", 'license in ["cc0", "cc-by"]', "domain != a.com"]))
    unsafe < 0.1 and license in ["cc0", "cc-by"] and domain != "a.com"
    >>> print(parse_rule(['[[["similarity", ">", 0.3]], [["source", "==", "hand"]]]']))
    similarity > 0.3 or source == "hand"
    """
    if len(texts) == 1 and texts[0].lstrip().startswith("["):
        try:
            return KeepRule.of(json.loads(texts[0]))
        except (RecursionError, ValueError) as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(f"expected a rule as JSON, got {texts[0]!r}: {error}") from error
    return KeepRule.of([_parse(text) for text in texts])


def _parse(text: str) -> Clause:
    found = CLAUSE.fullmatch(text)
    if found is None or not found["value"].strip():
        raise ArgumentError(
            f"expected a column, an operator (==, !=, <, >, <=, >=, in, not in) and a value, got {text!r}"
        )
    if found["value"].lstrip()[0] in "=<>!":
        raise ArgumentError(
            f"expected one operator (==, !=, <, >, <=, >=, in, not in), got "
            f"{found['operator']}{found['value'].lstrip()[0]} in {text!r}: give a text that begins so in double quotes"
        )
    return Clause(
        _column(found["column"], text), re.sub(r"\s+", " ", found["operator"]), _value(found["value"].strip(), text)
    )


def _column(name: str, text: str) -> str:
    try:
        return str(json.loads(name)) if name.startswith('"') else name
    except ValueError as error:
        raise ArgumentError(f"expected a column's name in double quotes as JSON has it in {text!r}: {error}") from error


def _value(text: str, clause: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        pass
    try:
        return float(text)  # ".5", "+3"
    except ValueError:
        pass
    if text[0] in "\"'":
        raise ArgumentError(
            f"expected a text without quotes, or in double quotes as JSON has it, got {text} in {clause!r}"
        )
    if JOINED.search(text):
        raise ArgumentError(
            f"expected one clause, got several in {clause!r}: give each one an option of its own, and alternatives as "
            "JSON; a text is taken as it is in double quotes"
        )
    return text
