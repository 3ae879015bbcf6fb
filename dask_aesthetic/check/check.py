"""Result of a check: whether a column holds embeddings that a predictor can score, and advice if not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from dask_aesthetic.check._repr import format_counts, format_duration, format_html, format_share, format_text
from dask_aesthetic.check.findings import CAUTION, LEVELS, NOT_USABLE, NOTE, NOTHING, Finding
from dask_aesthetic.check.measure import check_spec, measure_vectors
from dask_aesthetic.check.signature import ENCODER, KINDS, has_signature
from dask_aesthetic.check.statistics import OBJECTS, PROBABILITY_STEPS, Statistics, sum_statistics
from dask_aesthetic.distribution import QUANTILES, ScoreDistribution
from dask_aesthetic.embeddings.arrow import array_runs
from dask_aesthetic.errors import ArgumentError, ColumnError
from dask_aesthetic.predictors import Predictor, list_predictors, refuse_apart

MIXED = 0.9  # Embeddings with a lower share of one kind are a mixture.
FEW = 10  # Rows below which the kind is less certain.
PLACEHOLDER = 0.01  # Share of the rows with the same vector.
OUTSIDE = 0.01  # Share of the scores outside 1..10.
LEARNED = "learned from news photographs and their captions"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Check:
    """Result of ``frame.aesthetic.check()``: whether a column can be scored, its statistics, and advice.

    Counts are of the inspected rows.

    Attributes
    ----------
    embedding_column, predictor : str
    width : int
        Floats that the predictor takes.
    rows : int
        Rows of the frame; an estimate if `rows_estimated`.
    rows_estimated : bool
    inspected : int
        Inspected rows: all, unless a sample was asked for.
    storage, dtypes : dict of str to int
        Rows by storage ("Arrow list", "objects" and so on) and by the dtype of their floats.
    widths : dict of int to int
        Rows by the length of their list, without empty lists; lengths above 65,536 count as 65,537.
    nulls, empty, not_lists : int
        Rows without a list, with a list of length 0, and with another value: a matrix, or no numbers.
    other_types : dict of str to int
        Those other values by type.
    not_finite, zero : int
        Rows with NaN, infinity or a null in their list, and rows of zeros alone, of every width that a shipped
        predictor takes.
    status : dict of str to int
        Rows by status, as ``frame.aesthetic.status()`` has it.
    norm_min, norm_median, norm_max : float or None
        Euclidean norms of the other rows of such widths; the median within 0.1 %.
    normalized : bool or None
        Whether all those norms lie within 0.01 of 1.
    repeated : float
        Share of the rows that repeat another row, estimated from up to 10,000 distinct vectors.
    most_repeated : int
        Rows that hold the most frequent of those vectors.
    encoder : str or None
        Most frequent kind of the rows: "image" or "text" of OpenAI's ViT-L/14, or "other"; None where the predictor
        takes another encoder's embeddings. See `dask_aesthetic.check.signature.Signature`.
    encoder_rows : dict of str to float
        Share of the rows by their most probable kind.
    encoder_probability : float
        Probability of `encoder`, averaged over the rows.
    scores : ScoreDistribution
        Raw.
    below, above : int
        Scores below 1 and above 10.
    seconds : float or None
        Estimate of the seconds to score `rows` on one core, without reading, timed on the first inspected partition;
        None if that has no rows.
    refusal : str or None
        Message of the error that `score` raises.
    candidates : tuple of str
        Columns that hold, or may hold, lists of floats.
    predictor_encoder : str
        Encoder whose embeddings the predictor takes, or "unknown".
    others : dict of str to Check
        Checks for the other predictors, by the columns of their scores.
    apart : str or None
        Message of the error that `score` raises for these predictors together.
    """

    embedding_column: str
    predictor: str
    width: int
    rows: int
    rows_estimated: bool
    inspected: int
    storage: dict[str, int]
    dtypes: dict[str, int]
    widths: dict[int, int]
    nulls: int
    empty: int
    not_lists: int
    other_types: dict[str, int]
    not_finite: int
    zero: int
    status: dict[str, int]
    norm_min: float | None
    norm_median: float | None
    norm_max: float | None
    normalized: bool | None
    repeated: float
    most_repeated: int
    encoder: str | None
    encoder_rows: dict[str, float]
    encoder_probability: float
    scores: ScoreDistribution
    below: int
    above: int
    seconds: float | None
    refusal: str | None
    candidates: tuple[str, ...]
    predictor_encoder: str = "unknown"
    others: Mapping[str, Check] = field(default_factory=dict)
    apart: str | None = None

    @classmethod
    def of(
        cls,
        statistics: Statistics,
        embedding_column: str,
        predictor: Predictor,
        estimated_rows: int | None = None,
        refusal: str | None = None,
        candidates: tuple[str, ...] = (),
    ) -> Check:
        """Check from the statistics of a column; `estimated_rows` of the frame if some partitions were left out."""
        refused = [message for message, _ in statistics.refused.most_common(1)]
        rows = statistics.partition_rows if estimated_rows is None else estimated_rows
        norms, any_norms = statistics.norms, statistics.norms.count > 0
        return cls(
            embedding_column=embedding_column,
            predictor=predictor.info.name,
            width=predictor.width,
            rows=rows,
            rows_estimated=estimated_rows is not None,
            inspected=statistics.rows,
            storage=dict(statistics.storage.most_common()),
            dtypes=dict(statistics.dtypes.most_common()),
            widths=dict(sorted(statistics.widths.items())),
            nulls=statistics.nulls,
            empty=statistics.empty,
            not_lists=statistics.not_lists,
            other_types=dict(statistics.other_types.most_common()),
            not_finite=statistics.not_finite,
            zero=statistics.zero,
            status=dict(statistics.status.most_common()),
            norm_min=norms.min if any_norms else None,
            norm_median=norms.median if any_norms else None,
            norm_max=norms.max if any_norms else None,
            normalized=norms.normalized if any_norms else None,
            repeated=statistics.duplicates.share,
            most_repeated=statistics.duplicates.most,
            **_encoder(statistics, predictor),
            scores=statistics.scores,
            below=statistics.below,
            above=statistics.above,
            seconds=statistics.seconds / statistics.timed_rows * rows if statistics.timed_rows else None,
            refusal=refusal or next(iter(refused), None),
            candidates=candidates,
            predictor_encoder=predictor.info.encoder,
        )

    @classmethod
    def of_each(
        cls,
        statistics: Sequence[Statistics],
        embedding_column: str,
        predictors: Mapping[str, Predictor],
        estimated_rows: int | None = None,
        refusals: Sequence[str | None] = (),
        candidates: tuple[str, ...] = (),
    ) -> Check:
        """Check for one or several predictors, from the statistics of a column for each of them."""
        first, *others = [
            cls.of(measured, embedding_column, predictor, estimated_rows, refusal, candidates)
            for measured, predictor, refusal in zip_longest(statistics, predictors.values(), refusals)
        ]
        apart = None
        try:
            refuse_apart([predictor.info for predictor in predictors.values()])
        except (ArgumentError, ColumnError) as error:
            apart = str(error)
        return replace(first, others=dict(zip(list(predictors)[1:], others, strict=True)), apart=apart)

    @property
    def ok(self) -> int:
        """Number of rows that get a score."""
        return self.status.get("ok", 0)

    @property
    def missing(self) -> int:
        """Number of rows that are null or empty."""
        return self.status.get("missing", 0)

    @property
    def sampled(self) -> bool:
        """Whether some rows were not inspected."""
        return self.rows_estimated or self.inspected < self.rows

    @property
    def zero_copy(self) -> bool | None:
        """Whether scoring reads the embeddings without a copy; None if there are no embeddings."""
        return OBJECTS not in self.storage if self.storage else None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings, each with advice, the gravest first."""
        found = [
            *_refusals(self),
            *_invalid_rows(self),
            *_encoder_findings(self),
            *_score_findings(self),
            *_duplicates(self),
            *_storage(self),
        ]
        if self.apart is not None:
            found.append(Finding(NOT_USABLE, self.apart, "score with each of them alone"))
        known = {(finding.level, finding.what) for finding in found}
        for column, other in self.others.items():
            own = [one for one in other.findings if (one.level, one.what) not in known]
            found += [replace(one, what=f"{column} by {other.predictor}: {one.what}") for one in own]
        return tuple(sorted(found, key=lambda finding: LEVELS.index(finding.level)))

    @property
    def usable(self) -> bool:
        """Whether the column can be scored: at least half of the rows that are not missing get a score.

        Of several predictors, by each of them.
        """
        return all(finding.level != NOT_USABLE for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One line: usable or not, with the gravest findings."""
        level = CAUTION if self.usable else NOT_USABLE
        grave = "; ".join(finding.what for finding in self.findings if finding.level == level)
        if not self.usable:
            return f"not usable: {grave}"
        norms = ", not normalized (fine: scoring normalizes)" if self.normalized is False else ""
        return f"usable{norms}, with caution: {grave}" if grave else f"usable{norms}"

    def to_dict(self) -> dict[str, Any]:
        """Dict of plain values, with the scores as quantiles."""
        values = {name: value for name, value in vars(self).items() if name not in ("scores", "others", "apart")}
        others = {column: other.to_dict() for column, other in self.others.items()}
        return {
            "usable": self.usable,
            "verdict": self.verdict,
            "findings": [asdict(finding) for finding in self.findings],
            **values,
            "sampled": self.sampled,
            "zero_copy": self.zero_copy,
            "candidates": list(self.candidates),
            "scores": self._quantiles(),
            **({"others": others, "apart": self.apart} if others else {}),
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def __repr__(self) -> str:
        return format_text(self._title(), self._table(), self.findings)

    def _repr_html_(self) -> str:
        return format_html(self._title(), self._table(), self.findings)

    def _title(self) -> str:
        cautions = sum(finding.level == CAUTION for finding in self.findings)
        counted = f", with {cautions} caution{'s' if cautions > 1 else ''}" if cautions else ""
        verdict = f"usable{counted}" if self.usable else "not usable"
        names = ", ".join([self.predictor, *(other.predictor for other in self.others.values())])
        return f"Check of {self.embedding_column!r} for {names}: {verdict}"

    def _table(self) -> dict[str, str]:
        """Rows of the text and of the HTML table, by name."""
        about = "about " if self.rows_estimated else ""
        rows = {"rows": f"{about}{self.rows:,}" + (f", {self.inspected:,} inspected" if self.sampled else "")}
        if not self.storage:
            return rows
        rows["column"] = f"{format_counts(self.storage)} of {format_counts(self.dtypes) or 'nothing'}"
        rows["copies"] = self._copies()
        if self.others:
            each = [self, *self.others.values()]
            rows["predictors"] = ", ".join(f"{one.predictor} ({one._takes()})" for one in each)
        rows["widths"] = format_counts({f"{width:,}": count for width, count in self.widths.items()}) or "none"
        invalid = {name: getattr(self, name) for name in ("nulls", "empty", "not_lists", "not_finite", "zero")}
        named = [f"{count:,} {name.replace('_', ' ')}" for name, count in invalid.items() if count]
        rows["invalid rows"] = ", ".join(named) or "none"
        rows["repeated"] = f"{self.repeated:.1%}"
        if self.norm_median is not None:
            ends = f"{self.norm_min:.4g} to {self.norm_max:.4g}, median {self.norm_median:.4g}"
            rows["norms"] = f"{ends}: {'' if self.normalized else 'not '}normalized"
        scored = {"scores": self, **{f"{column} scores": other for column, other in self.others.items()}}
        for name, one in scored.items():
            if one.ok:
                rows[name] = one._format_scores()
        times = [one.seconds for one in (self, *self.others.values()) if one.ok and one.seconds is not None]
        if times:
            duration = format_duration(sum(times))
            rows["time"] = f"about {duration} to score {about}{self.rows:,} rows on one core, without reading"
        return rows

    def _takes(self) -> str:
        """What the predictor takes, for people."""
        encoder = "" if self.predictor_encoder == "unknown" else f" of {self.predictor_encoder}"
        return f"{self.width:,} floats{encoder}"

    def _format_scores(self) -> str:
        scores = [f"{name} {score:.2f}" for name, score in self._quantiles().items() if score is not None]
        return f"{', '.join(scores)}; {self.below + self.above:,} outside the usual range"

    def _quantiles(self) -> dict[str, float | None]:
        """Minimum, quantiles and maximum of the scores by name; None without scores."""
        scores = self.scores
        found = {"min": scores.min, **{f"{q:.0%}": scores.quantile(q) for q in QUANTILES}, "max": scores.max}
        return {name: score if scores.count else None for name, score in found.items()}

    def _copies(self) -> str:
        if not self.zero_copy:
            return "all rows, block by block"
        around = " but around rows of another width" if len(self.widths) > 1 else ""
        if any("int" in name for name in self.dtypes):
            return "all rows, converted to float64 block by block"
        converted = "" if set(self.dtypes) <= {"float32", "null"} else ", converted to float32 block by block"
        return f"none{around}: zero-copy{converted}"


def find_encoder_caution(lists: pa.Array, predictor: Predictor) -> str | None:
    """Caution if embeddings, a list of floats per row, look like texts' or another encoder's; None otherwise."""
    if not has_signature(predictor):
        return None
    parts = [Statistics(ScoreDistribution())]
    for run in array_runs(lists, predictor.width):
        status = run.status if run.present is None else run.status[run.present]
        parts.append(measure_vectors(run.vectors, status, check_spec(predictor)))
    statistics = sum_statistics([replace(part, scores=ScoreDistribution()) for part in parts])
    statistics = replace(statistics, status=Counter(ok=statistics.kinds.total()))
    found = _encoder_findings(Check.of(statistics, "", predictor))
    return next((f"{finding.what}: {finding.do}" for finding in found if finding.level == CAUTION), None)


def _encoder(statistics: Statistics, predictor: Predictor) -> dict[str, Any]:
    rows = statistics.kinds.total()
    if not has_signature(predictor) or not rows:
        return {"encoder": None, "encoder_rows": {}, "encoder_probability": 0.0}
    kind = max(KINDS, key=lambda kind: (statistics.kinds[kind], statistics.probabilities[kind]))
    return {
        "encoder": kind,
        "encoder_rows": {name: statistics.kinds[name] / rows for name in KINDS},
        "encoder_probability": statistics.probabilities[kind] / (PROBABILITY_STEPS * rows),
    }


def _refusals(check: Check) -> Iterator[Finding]:
    """Reasons why no row can be scored."""
    if check.refusal is not None:
        others = " or ".join(f"embedding_column={name!r}" for name in check.candidates)
        yield Finding(NOT_USABLE, check.refusal, f"say {others}" if others else "write lists of floats, and read those")
    elif not check.inspected:
        yield Finding(NOT_USABLE, "nothing to score: there are no rows", "inspect what made or filtered the frame")
    elif check.inspected == check.missing:
        what = f"nothing to score: all {check.inspected:,} rows are null or empty"
        yield Finding(NOT_USABLE, what, "inspect what made the embeddings, or the join that brought them here")


def _invalid_rows(check: Check) -> Iterator[Finding]:
    """Rows that get no score, by reason."""
    if check.refusal is not None or not check.inspected:
        return
    present = check.inspected - check.missing
    status = check.status
    yield from _missing_rows(check)
    reasons = {
        "wrong_type": (
            status.get("wrong_type", 0),
            f"of {', '.join(check.other_types or check.dtypes)}, no lists of numbers",
            "write lists of floats",
        ),
        "wrong_width": (
            status.get("wrong_width", 0),
            f"of {_other_widths(check)}, and {check.predictor} takes {check.width}",
            _other_predictor(check),
        ),
        "not_finite": (status.get("not_finite", 0), "with NaN, infinity or a null", "inspect what made the embeddings"),
        "zero": (status.get("zero", 0), "of zeros alone", "inspect what made the embeddings"),
    }
    gravest = max(reasons, key=lambda reason: reasons[reason][0])
    for reason, (rows, what, do) in reasons.items():
        if rows:
            refused = check.ok * 2 < present and reason == gravest
            tail = "" if refused else "; such rows get no score and are not kept, and .aesthetic.status() names them"
            level = NOT_USABLE if refused else CAUTION
            yield Finding(level, f"{format_share(rows, check.inspected)} {what}", do + tail)


def _missing_rows(check: Check) -> Iterator[Finding]:
    missing = check.missing
    if 0 < missing < check.inspected:
        level = CAUTION if missing * 2 > check.inspected else NOTE
        what = f"{format_share(missing, check.inspected)} without a list: null or empty"
        yield Finding(level, what, "nothing: such rows get no score and are not kept")


def _other_widths(check: Check) -> str:
    others = sorted((-rows, width) for width, rows in check.widths.items() if width != check.width)
    if not others:
        return f"{', '.join(check.other_types or check.dtypes)}, no flat lists of numbers"
    more = f" or one of {len(others) - 3:,} other numbers of" if len(others) > 3 else ""
    return " or ".join(f"{width:,}" for _, width in others[:3]) + more + " floats"


def _other_predictor(check: Check) -> str:
    """Advice for embeddings of another width: the predictors that take it."""
    if not check.widths.keys() - {check.width}:
        return f"reshape each row to its {check.width} numbers, or split rows of several embeddings into several rows"
    width = max(check.widths, key=lambda width: (width != check.width, check.widths[width]))
    fits = [
        f"predictor={name!r} if {info.encoder} made them"
        for name, info in list_predictors().items()
        if info.width == width
    ]
    if fits:
        return f"say {' or '.join(fits)}; thresholds of {check.predictor} scores do not hold there"
    return f"use a predictor that was trained on {width:,} floats of that encoder, or embed the images with {ENCODER}"


def _encoder_findings(check: Check) -> Iterator[Finding]:
    """Kind of the embeddings; never graver than a caution."""
    if check.encoder is None:
        return
    rows, probability = check.encoder_rows, f"probability {min(check.encoder_probability, 0.99):.0%}, {LEARNED}"
    few = f", and from {check.ok} only" if check.ok < FEW else ""
    do = f"make sure that these are image embeddings of {ENCODER}: others' scores mean nothing. If they are, go on"
    if rows[check.encoder] < MIXED:
        names = {"image": "where it puts images", "text": "where it puts texts", "other": "elsewhere"}
        ranked = sorted(rows, key=lambda kind: -rows[kind])
        parts = ", ".join(f"{rows[kind]:.1%} {names[kind]}" for kind in ranked if rows[kind])
        what = f"for OpenAI's ViT-L/14, the rows are a mixture: {parts} ({LEARNED}{few})"
        yield Finding(CAUTION, what, do)
    elif check.encoder == "image":
        yield Finding(NOTE, f"rows lie where OpenAI's ViT-L/14 puts images ({probability}{few})", NOTHING)
    elif check.encoder == "text":
        what = f"rows lie where OpenAI's ViT-L/14 puts texts, not images ({probability}{few})"
        yield Finding(CAUTION, what, do)
    else:
        what = "rows lie neither where OpenAI's ViT-L/14 puts images nor where it puts texts"
        yield Finding(CAUTION, f"{what}, as another encoder's of the same width would ({probability}{few})", do)


def _score_findings(check: Check) -> Iterator[Finding]:
    outside = check.below + check.above
    if outside:
        level = CAUTION if outside > OUTSIDE * check.ok else NOTE
        ends = f"from {check.scores.min:.2f} to {check.scores.max:.2f}"
        what = f"{outside:,} of {check.ok:,} scores lie outside 1..10: they go {ends}"
        yield Finding(level, what, "inspect those rows: images score from about 2 to 8")


def _duplicates(check: Check) -> Iterator[Finding]:
    if not check.repeated:
        return
    if check.most_repeated >= FEW and check.most_repeated > PLACEHOLDER * check.ok:
        what = f"one and the same vector stands in {format_share(check.most_repeated, check.inspected)}"
        yield Finding(CAUTION, what, "inspect their images: a placeholder for failed downloads does this")
    yield Finding(NOTE, f"{check.repeated:.1%} of the rows repeat another one", "nothing, or drop duplicates first")


def _storage(check: Check) -> Iterator[Finding]:
    if check.normalized is False:
        what = f"vectors are not normalized (median norm {check.norm_median:.4g})"
        yield Finding(NOTE, what, "nothing: scoring normalizes them")
    if check.zero_copy is False and check.ok:
        do = "read Parquet with dtype_backend='pyarrow', which gives Arrow lists, scored without a copy"
        yield Finding(NOTE, "rows are objects, which are copied block by block, several times slower", do)
