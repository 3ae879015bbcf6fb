"""What a check found, for programs and for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from dask_aesthetic.check import telling
from dask_aesthetic.check.columns import OBJECTS
from dask_aesthetic.check.facts import Facts
from dask_aesthetic.check.findings import CAUTION, NOT_USABLE, Finding, find
from dask_aesthetic.check.measure import STEPS, has_signature
from dask_aesthetic.check.signature import KINDS
from dask_aesthetic.distribution import ScoreDistribution
from dask_aesthetic.predictors import Predictor


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Check:
    """Whether a column holds embeddings that a predictor can score, and what to do about it.

    Made by ``frame.aesthetic.check()``. Counts are of the rows that were looked at.

    Attributes
    ----------
    embedding_column, predictor : str
    width : int
        Floats that the predictor takes.
    rows : int
        Rows of the frame; where `rows_estimated`, about so many.
    rows_estimated : bool
    looked_at : int
        Rows that were looked at: all, unless a sample was asked for.
    storage, dtypes : dict of str to int
        Rows by how they are stored ("Arrow list", "objects" and so on) and by the type of their floats.
    widths : dict of int to int
        Rows by the length of their list, without those that have none; above 65,536 they count as 65,537.
    nulls, empty, not_lists : int
        Rows without a list, with one of length 0, and with something else.
    not_finite, zero : int
        Rows with NaN, infinity or a null in their list, but not nulls alone, and rows that are all zero, as far as
        they are of a width that a shipped predictor takes.
    status : dict of str to int
        Rows by what ``frame.aesthetic.status()`` says of them.
    norm_min, norm_median, norm_max : float or None
        Euclidean norms of the other rows of such widths; the median within 0.1 %.
    normalized : bool or None
        Whether all of those lie within 0.01 of 1.
    repeated : float
        Share of the rows, estimated from up to 10,000 distinct vectors, that repeat another one.
    most_repeated : int
        Rows that hold the most frequent one of those vectors.
    encoder : str or None
        What the rows' place looks most like: "image" or "text" of OpenAI's ViT-L/14, or "other"; None where the
        predictor takes another encoder's embeddings. See `dask_aesthetic.check.signature.Signature`.
    encoder_rows : dict of str to float
        Share of the rows that look most like each.
    encoder_sureness : float
        How likely `encoder` is, averaged over the rows.
    scores : ScoreDistribution
        Raw.
    below, above : int
        Scores below 1 and above 10.
    seconds : float or None
        What scoring `rows` would take on one core by what it took here, reading aside; an estimate.
    refusal : str or None
        What `score` would raise.
    candidates : tuple of str
        Columns that hold, or may hold, lists of floats.
    """

    embedding_column: str
    predictor: str
    width: int
    rows: int
    rows_estimated: bool
    looked_at: int
    storage: dict[str, int]
    dtypes: dict[str, int]
    widths: dict[int, int]
    nulls: int
    empty: int
    not_lists: int
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
    encoder_sureness: float
    scores: ScoreDistribution
    below: int
    above: int
    seconds: float | None
    refusal: str | None
    candidates: tuple[str, ...]

    @classmethod
    def of(
        cls,
        facts: Facts,
        embedding_column: str,
        predictor: Predictor,
        whole: int | None = None,
        refusal: str | None = None,
        candidates: tuple[str, ...] = (),
    ) -> Check:
        """What facts say of a column whose frame has about `whole` rows, or as many as the facts are of."""
        refused = [message for message, _ in facts.refused.most_common(1)]
        rows = facts.held if whole is None else whole
        norms, any_norms = facts.norms, facts.norms.count > 0
        return cls(
            embedding_column=embedding_column,
            predictor=predictor.info.name,
            width=predictor.width,
            rows=rows,
            rows_estimated=whole is not None,
            looked_at=facts.rows,
            storage=dict(facts.storage.most_common()),
            dtypes=dict(facts.leaves.most_common()),
            widths=dict(sorted(facts.widths.items())),
            nulls=facts.nulls,
            empty=facts.empty,
            not_lists=facts.not_lists,
            not_finite=facts.not_finite,
            zero=facts.zero,
            status=dict(facts.status.most_common()),
            norm_min=norms.min if any_norms else None,
            norm_median=norms.median if any_norms else None,
            norm_max=norms.max if any_norms else None,
            normalized=norms.normalized if any_norms else None,
            repeated=facts.repeats.share,
            most_repeated=facts.repeats.most,
            **_encoder(facts, predictor),
            scores=facts.scores,
            below=facts.below,
            above=facts.above,
            seconds=facts.seconds / facts.timed * rows if facts.timed else None,
            refusal=refusal or next(iter(refused), None),
            candidates=candidates,
        )

    @property
    def ok(self) -> int:
        """Rows that get a score."""
        return self.status.get("ok", 0)

    @property
    def missing(self) -> int:
        """Rows that are null, empty or, at the predictor's width, of nulls alone."""
        return self.status.get("missing", 0)

    @property
    def sampled(self) -> bool:
        """Whether rows were left out."""
        return self.rows_estimated or self.looked_at < self.rows

    @property
    def zero_copy(self) -> bool | None:
        """Whether the embeddings are read where they lie; None if there are none."""
        return OBJECTS not in self.storage if self.storage else None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is to be said, each with what to do, the gravest first."""
        return find(self)

    @property
    def usable(self) -> bool:
        """Whether the column can be scored: at least half of the rows that hold anything get a score."""
        return all(finding.level != NOT_USABLE for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The findings that count, in one line."""
        level = CAUTION if self.usable else NOT_USABLE
        grave = "; ".join(finding.what for finding in self.findings if finding.level == level)
        if not self.usable:
            return f"not usable: {grave}"
        length = ", not normalized (fine: scoring normalizes)" if self.normalized is False else ""
        return f"usable{length}, with caution: {grave}" if grave else f"usable{length}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values; of the scores what people read."""
        told = {name: value for name, value in vars(self).items() if name != "scores"}
        return {
            "usable": self.usable,
            "verdict": self.verdict,
            "findings": [asdict(finding) for finding in self.findings],
            **told,
            "sampled": self.sampled,
            "zero_copy": self.zero_copy,
            "candidates": list(self.candidates),
            "scores": telling.quantiles(self.scores),
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def __repr__(self) -> str:
        return telling.as_text(self)

    def _repr_html_(self) -> str:
        return telling.as_html(self)


def _encoder(facts: Facts, predictor: Predictor) -> dict[str, Any]:
    rows = facts.kinds.total()
    if not has_signature(predictor) or not rows:
        return {"encoder": None, "encoder_rows": {}, "encoder_sureness": 0.0}
    kind = max(KINDS, key=lambda kind: (facts.kinds[kind], facts.sureness[kind]))
    return {
        "encoder": kind,
        "encoder_rows": {name: facts.kinds[name] / rows for name in KINDS},
        "encoder_sureness": facts.sureness[kind] / (STEPS * rows),
    }
