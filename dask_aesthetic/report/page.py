"""Facts as HTML: everything a page needs stands in it, and its content security policy allows nothing else."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from importlib.resources import files
from typing import Any

from dask_aesthetic.distribution import LAION_PAIRS, LAION_SHARES, ScoreDistribution
from dask_aesthetic.distribution._bins import STEPS
from dask_aesthetic.distribution.distribution import QUANTILES
from dask_aesthetic.report import plots
from dask_aesthetic.report.facts import Facts, Sample
from dask_aesthetic.report.samples import ABOVE, BELOW, bucket_ends
from dask_aesthetic.report.spec import ReportSpec
from dask_aesthetic.report.text import link, plain
from dask_aesthetic.status import MEANINGS
from dask_aesthetic.thresholds import PRESETS, SCALES, Threshold, is_on_preset_scale
from dask_aesthetic.version import __version__

MOST_GROUPS, MOST_PROVENANCE, LONG = 200, 60, 500
ROW_STEP = 25  # Hundredths between the rows of the table of thresholds.


def render(facts: Facts, spec: ReportSpec) -> str:
    """The page of these facts; the same facts give the same page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    style, script = (_asset(name) for name in ("page.css", "page.js"))
    environment = Environment(
        loader=PackageLoader("dask_aesthetic.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    score = partial(_score, scale=spec.threshold.scale)
    environment.filters.update(plain=plain, score=score, share=share, whole=whole)
    span = plots.Range.of(facts.distribution, spec.threshold)
    return environment.get_template(
        "page.html.jinja"
    ).render(
        policy=policy(style, script),
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        counts=Markup(_json(_counts(facts.distribution, span))),  # noqa: S704 - numbers alone
        title=plain(spec.title),
        cut=_cut(spec.threshold),
        spec=spec,
        d=facts.distribution,
        kept=facts.kept,
        rate=rate(facts.kept, facts.distribution.count),
        span=span,
        at=_nearest(spec.threshold, span),
        frame=plots,
        histogram=plots.histogram(facts.distribution, spec.threshold, span),
        curve=plots.curve(facts.distribution, spec.threshold, span),
        quantiles=[(q, facts.distribution.quantile(q)) for q in QUANTILES] if facts.distribution.count else [],
        rows=_threshold_rows(facts.distribution, span, spec.threshold.scale),
        laion=LAION_PAIRS if _is_laion(facts.distribution) else None,
        failures=_failures(facts.distribution),
        groups=[_group(*group) for group in facts.groups[:MOST_GROUPS]],
        more_groups=len(facts.groups[MOST_GROUPS:]),
        samples=list(_samples(facts, spec)),
        provenance=list(_flat(spec.provenance))[:MOST_PROVENANCE],
        asked=list(_flat(spec.as_config)),
        version=__version__,
    )


def policy(style: str, script: str) -> str:
    """A content security policy that allows this style, this script and pictures in the page, and nothing else."""
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def rate(kept: int, scored: int) -> float | None:
    """Share of the scored rows; None if there are none."""
    return kept / scored if scored else None


def share(value: float | None) -> str:
    """A share as a percentage.

    Examples
    --------
    >>> share(0.25314), share(0.0000264), share(None)
    ('25.31%', '0.0026%', 'none')
    """
    if value is None:
        return "none"
    return f"{value:.2%}" if value >= 0.001 or not value else f"{value:.4%}"


def whole(value: int) -> str:
    """A count with its thousands marked."""
    return f"{value:,}"


def _asset(name: str) -> str:
    return files("dask_aesthetic.report").joinpath("template", name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _counts(distribution: ScoreDistribution, span: plots.Range) -> dict[str, Any]:
    """What the slider needs: rows in each hundredth, and those beyond the last."""
    kept = plots.kept_from(distribution, span).tolist()
    steps = int(STEPS * SCALES[distribution.scale])
    return {"low": span.low, "steps": steps, "scored": distribution.count, "kept": kept}


def _nearest(threshold: Threshold, span: plots.Range) -> int:
    return min(max(round(threshold.value * SCALES[threshold.scale] * STEPS), span.low), span.high)


def _score(value: float, scale: str) -> str:
    return f"{value:.{2 if scale == 'raw' else 3}f}"


def _cut(threshold: Threshold) -> str:
    """The threshold with the digits that the slider shows, or with all that it has."""
    text = _score(threshold.value, threshold.scale)
    return text if float(text) == threshold.value else f"{threshold.value:.8g}"


def _threshold_rows(distribution: ScoreDistribution, span: plots.Range, scale: str) -> list[dict[str, Any]]:
    """Rows kept by threshold: every quarter of a raw score, the presets, and what LAION published there."""
    comparable = _is_laion(distribution)
    names = {round(value * STEPS): name for name, value in PRESETS.items()} if comparable else {}
    published = {round(score * STEPS): share for score, share in LAION_SHARES.items()} if comparable else {}
    kept = plots.kept_from(distribution, span).tolist()
    quarters = range(-(-span.low // ROW_STEP) * ROW_STEP, span.high + 1, ROW_STEP)
    return [
        {
            "score": at / (STEPS * SCALES[scale]),
            "name": names.get(at, ""),
            "kept": kept[at - span.low],
            "rate": rate(kept[at - span.low], distribution.count),
            "laion": published.get(at),
        }
        for at in quarters
    ]


def _is_laion(distribution: ScoreDistribution) -> bool:
    """Whether scores may be on the scale that LAION's counts and the presets are on."""
    return is_on_preset_scale(distribution.predictor_scale, distribution.predictor)


def _failures(distribution: ScoreDistribution) -> list[dict[str, Any]]:
    known = dict(sorted(distribution.reasons.items(), key=lambda item: (-item[1], item[0])))
    rest = distribution.missing - sum(known.values())
    if rest:
        known["unknown"] = known.get("unknown", 0) + rest
    return [
        {"reason": plain(reason), "rows": rows, "share": rows / distribution.rows, "meaning": MEANINGS.get(reason, "")}
        for reason, rows in known.items()
    ]


def _group(group: Any, part: ScoreDistribution, kept: int) -> dict[str, Any]:
    return {
        "name": None if group is None else plain(group),
        "rows": part.rows,
        "scored": part.count,
        "kept": kept,
        "rate": rate(kept, part.count),
        "mean": part.mean if part.count else None,
    }


def _samples(facts: Facts, spec: ReportSpec) -> Iterator[dict[str, Any]]:
    """The sampled rows by place: around the threshold, then from the best bucket to the worst."""
    places: dict[int, list[Sample]] = {}
    for sample in facts.samples:
        places.setdefault(sample.place, []).append(sample)
    for place in (ABOVE, BELOW, *sorted((place for place in places if place >= -1), reverse=True)):
        if place in places:
            cards = [_card(sample, spec) for sample in places[place]]
            yield {"heading": _heading(place, spec), "cards": cards, "border": place < -1}


def _heading(place: int, spec: ReportSpec) -> str:
    if place < -1:
        return f"Just {'above' if place == ABOVE else 'below'} the threshold of {_cut(spec.threshold)}"
    low, high = (_score(end, spec.threshold.scale) for end in bucket_ends(place, spec.threshold.scale))
    return f"{low} to {high}".replace("-inf", "lowest").replace("inf", "highest")


def _card(sample: Sample, spec: ReportSpec) -> dict[str, Any]:
    exact = float(sample.score)
    return {
        "score": exact,
        # At the threshold all digits count.
        "shown": f"{exact:.7g}" if sample.place < -1 else _score(exact, spec.threshold.scale),
        "kept": exact >= spec.threshold.cut,
        "key": plain(sample.key),
        "picture": sample.picture,
        "link": link(sample.url) if sample.url is not None else None,
        "group": plain(sample.group) if sample.group is not None else "",
    }


def _flat(told: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Nested provenance as names and texts; what is empty is left out."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name} ")
        elif value not in (None, ""):
            yield plain(f"{before}{name}".replace("_", " ")), plain(value, LONG)
