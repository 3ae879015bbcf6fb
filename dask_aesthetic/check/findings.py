"""What is to be said of a column, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_aesthetic.check.signature import ENCODER
from dask_aesthetic.predictors import list_predictors

if TYPE_CHECKING:
    from dask_aesthetic.check.result import Check

NOT_USABLE, CAUTION, NOTE = "not usable", "caution", "note"
LEVELS = (NOT_USABLE, CAUTION, NOTE)

NOTHING = "nothing"
LISTS = ("float16", "float32", "float64", "object", "list", "tuple")
MOSTLY = 0.9  # Fewer rows than this of one kind are a mixture.
FEW = 10  # Rows below which a place says less.
PLACEHOLDER = 0.01  # Share of the rows that hold one and the same vector.
OUTSIDE = 0.01  # Share of the scores outside 1..10.
LEARNED = "learned from news photographs and their captions"


@dataclass(frozen=True)
class Finding:
    """Something to be said.

    Attributes
    ----------
    level : {"not usable", "caution", "note"}
    what : str
    do : str
        What to do about it.
    """

    level: str
    what: str
    do: str


def find(check: Check) -> tuple[Finding, ...]:
    """All findings, the gravest first."""
    found = [*_cannot(check), *_rows(check), *encoder_findings(check), *_scores(check), *_repeats(check), *_make(check)]
    return tuple(sorted(found, key=lambda finding: LEVELS.index(finding.level)))


def share(part: float, whole: int) -> str:
    """Rows and their percentage."""
    return f"{part:,} {'row' if part == 1 else 'rows'} ({part / whole:.1%})"


def _cannot(check: Check) -> Iterator[Finding]:
    """Why nothing can be scored at all."""
    if check.refusal is not None:
        others = " or ".join(f"embedding_column={name!r}" for name in check.candidates)
        yield Finding(NOT_USABLE, check.refusal, f"say {others}" if others else "write lists of floats, and read those")
    elif not check.looked_at:
        yield Finding(NOT_USABLE, "nothing to score: there are no rows", "look at what made or filtered the frame")
    elif check.looked_at == check.missing:
        what = f"nothing to score: all {check.looked_at:,} rows are null, empty or of nulls alone"
        yield Finding(NOT_USABLE, what, "look at what made the embeddings, or at the join that brought them here")


def _rows(check: Check) -> Iterator[Finding]:
    """Rows that get no score, by the reason."""
    if check.refusal is not None or not check.looked_at:
        return
    present = check.looked_at - check.missing
    status = check.status
    yield from _missing(check)
    other = status.get("wrong_width", 0) - check.not_lists
    reasons = {
        "not_lists": (check.not_lists, f"of {_others(check)}, no lists of floats", "write lists of floats"),
        "wrong_width": (
            other,
            f"of {_widths(check)}, and {check.predictor} takes {check.width}",
            _other_predictor(check),
        ),
        "not_finite": (status.get("not_finite", 0), "with NaN, infinity or a null", "look at what made the embeddings"),
        "zero": (status.get("zero", 0), "of zeros alone", "look at what made the embeddings"),
    }
    gravest = max(reasons, key=lambda reason: reasons[reason][0])
    for reason, (rows, what, do) in reasons.items():
        if rows:
            bad = check.ok * 2 < present and reason == gravest
            tail = "" if bad else "; such rows get no score and are not kept, and .aesthetic.status() names them"
            yield Finding(NOT_USABLE if bad else CAUTION, f"{share(rows, check.looked_at)} {what}", do + tail)


def _missing(check: Check) -> Iterator[Finding]:
    missing = check.missing
    if 0 < missing < check.looked_at:
        level = CAUTION if missing * 2 > check.looked_at else NOTE
        what = f"{share(missing, check.looked_at)} without a list: null, empty or of nulls alone"
        yield Finding(level, what, "nothing: such rows get no score and are not kept")


def _others(check: Check) -> str:
    """What else than lists of floats an object column holds."""
    return ", ".join(name for name in check.dtypes if name not in LISTS)


def _widths(check: Check) -> str:
    others = sorted((-rows, width) for width, rows in check.widths.items() if width != check.width)
    if not others:
        return f"{', '.join(check.dtypes)} that are no flat lists of floats"
    more = f" or one of {len(others) - 3:,} other numbers of" if len(others) > 3 else ""
    return " or ".join(f"{width:,}" for _, width in others[:3]) + more + " floats"


def _other_predictor(check: Check) -> str:
    width = max(check.widths, key=lambda width: (width != check.width, check.widths[width]), default=0)
    fits = [
        f"predictor={name!r} if {info.encoder} made them"
        for name, info in list_predictors().items()
        if info.width == width
    ]
    if fits:
        return f"say {' or '.join(fits)}; thresholds of {check.predictor} scores do not hold there"
    return f"use a predictor that was trained on {width:,} floats of that encoder, or embed the pictures with {ENCODER}"


def encoder_findings(check: Check) -> Iterator[Finding]:
    """Whose embeddings they look like; never more than a caution."""
    if check.encoder is None:
        return
    rows, sure = check.encoder_rows, f"{min(check.encoder_sureness, 0.99):.0%} sure, {LEARNED}"
    few = f", and from {check.ok} only" if check.ok < FEW else ""
    do = f"make sure that these are image embeddings of {ENCODER}: others' scores mean nothing. If they are, go on"
    if rows[check.encoder] < MOSTLY:
        names = {"image": "where it puts pictures", "text": "where it puts texts", "other": "elsewhere"}
        ranked = sorted(rows, key=lambda kind: -rows[kind])
        parts = ", ".join(f"{rows[kind]:.1%} {names[kind]}" for kind in ranked if rows[kind])
        yield Finding(CAUTION, f"seen from OpenAI's ViT-L/14, rows lie in several places: {parts} ({LEARNED}{few})", do)
    elif check.encoder == "image":
        yield Finding(NOTE, f"rows lie where OpenAI's ViT-L/14 puts pictures ({sure}{few})", NOTHING)
    elif check.encoder == "text":
        yield Finding(CAUTION, f"rows lie where OpenAI's ViT-L/14 puts texts, not pictures ({sure}{few})", do)
    else:
        what = "rows lie neither where OpenAI's ViT-L/14 puts pictures nor where it puts texts"
        yield Finding(CAUTION, f"{what}, as another encoder's of the same width would ({sure}{few})", do)


def _scores(check: Check) -> Iterator[Finding]:
    outside = check.below + check.above
    if outside:
        level = CAUTION if outside > OUTSIDE * check.ok else NOTE
        ends = f"from {check.scores.min:.2f} to {check.scores.max:.2f}"
        what = f"{outside:,} of {check.ok:,} scores lie outside 1..10: they go {ends}"
        yield Finding(level, what, "look at those rows: pictures score from about 2 to 8")


def _repeats(check: Check) -> Iterator[Finding]:
    if not check.repeated:
        return
    if check.most_repeated >= FEW and check.most_repeated > PLACEHOLDER * check.ok:
        what = f"one and the same vector stands in {share(check.most_repeated, check.looked_at)}"
        yield Finding(CAUTION, what, "look at their pictures: a placeholder for failed downloads does this")
    yield Finding(NOTE, f"{check.repeated:.1%} of the rows repeat another one", "nothing, or drop duplicates first")


def _make(check: Check) -> Iterator[Finding]:
    if check.normalized is False:
        what = f"vectors are not normalized (median norm {check.norm_median:.4g})"
        yield Finding(NOTE, what, "nothing: scoring normalizes them")
    if check.zero_copy is False and check.ok:
        do = "read Parquet with dtype_backend='pyarrow', which gives Arrow lists, scored where they lie"
        yield Finding(NOTE, "rows are objects, which are copied block by block: several times slower", do)
