"""Report data as one HTML page with a content security policy that allows only the page's own style and script."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dask_aesthetic.atomic import write_atomic
from dask_aesthetic.distribution import LAION_PAIRS, LAION_SHARES, QUANTILES, ScoreDistribution
from dask_aesthetic.distribution._bins import STEPS
from dask_aesthetic.errors import ArgumentError, InputError
from dask_aesthetic.escape import escape_text, link
from dask_aesthetic.io.image_shards import PATH
from dask_aesthetic.io.listing import Source
from dask_aesthetic.io.samples import IMAGES
from dask_aesthetic.keep_rule import RuleCounts
from dask_aesthetic.report import plots
from dask_aesthetic.report.data import ReportData, ReportSample, compute_data
from dask_aesthetic.report.image_source import find_image_source
from dask_aesthetic.report.pairs import heat_map
from dask_aesthetic.report.sampling import ABOVE, BELOW, bucket_ends
from dask_aesthetic.report.spec import ReportSpec, require
from dask_aesthetic.status import MEANINGS
from dask_aesthetic.thresholds import PRESETS, SCALES, Threshold, is_on_preset_scale
from dask_aesthetic.version import __version__

SUFFIXES = (".html", ".htm")
MAX_GROUPS, MAX_PROVENANCE, MAX_LENGTH = 200, 60, 500
ROW_STEP, FINE_STEP = 25, 5  # Hundredths between the rows of the table of thresholds.
FEW_ROWS = 4  # Of the table, from which on the rows are closer together.


def write_report(
    frame: Any,
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str | None],
    threshold: float | str | Threshold,
    known: dict[str, str],
    samples: int,
    seed: int,
    title: str,
    provenance: Mapping[str, Any],
    tars: Source | None = None,
    images: Source | None = None,
    image_extensions: Sequence[str] = IMAGES,
    storage_options: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report page of a frame's scores; see ``.aesthetic.report``.

    Parameters
    ----------
    frame : pandas, cuDF or Dask DataFrame
    path : str or path
        An existing file with a suffix of HTML is replaced once the page is complete.
    columns, threshold, known, samples, seed, title, provenance
        As in `ReportSpec`; columns of None are left out.
    tars, images, image_extensions, storage_options
        As of ``.aesthetic.report``.

    Raises
    ------
    InputError
        The folder does not exist, or there is a file that is no HTML; raised before anything is computed.
    ColumnError, ArgumentError, ThresholdError, MissingDependencyError
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ArgumentError(f"expected the path of an HTML file to write, got {path!r}")
    target = Path(path)
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise InputError(f"expected a file to write in a folder that exists, got {target}")
    if target.exists() and target.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"expected a name that ends in {' or '.join(SUFFIXES)} for a file to replace, got {target}, which is "
            "there: choose another name"
        )
    if tars is not None or images is not None or columns.get("image_column") is not None:
        require("PIL", "showing images", "Pillow")
    source = find_image_source(frame.columns, tars, images, image_extensions, storage_options)
    spec = ReportSpec.of(frame.columns, columns, threshold, known, samples, seed, title, provenance, source)
    page = render(compute_data(frame, spec, source), spec)
    write_atomic(target, page.encode("utf-8"))  # Bytes: the hashes in the page's policy need these line ends.
    return target


def render(data: ReportData, spec: ReportSpec) -> str:
    """HTML of the page; the same data give the same bytes."""
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
    score = partial(_format_score, scale=spec.threshold.scale)
    environment.filters.update(text=escape_text, score=score, share=format_share, count=format_count)
    span = plots.Range.of(data.distribution, spec.threshold)
    kept = plots.kept_at(data.distribution, data.mirrored, span)
    return environment.get_template(
        "page.html.jinja"
    ).render(
        policy=policy(style, script),
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        counts=Markup(_json(_counts(data.distribution, kept, spec.threshold, span))),  # noqa: S704 - numbers alone
        title=escape_text(spec.title),
        threshold=_format_threshold(spec.threshold),
        spec=spec,
        d=data.distribution,
        kept=data.kept,
        rate=rate(data.kept, data.distribution.count),
        span=span,
        at=_nearest(spec.threshold, span),
        frame=plots,
        histogram=plots.histogram(data.distribution, spec.threshold, span),
        curve=plots.curve(kept, data.distribution, spec.threshold, span),
        quantiles=[(q, data.distribution.quantile(q)) for q in QUANTILES] if data.distribution.count else [],
        rows=_threshold_rows(data.distribution, kept, span, spec.threshold.scale),
        laion=LAION_PAIRS if _is_laion(data.distribution) else None,
        failures=_failures(data.distribution),
        groups=[_group(*group) for group in data.groups[:MAX_GROUPS]],
        more_groups=len(data.groups[MAX_GROUPS:]),
        samples=list(_samples(data, spec)),
        pairs=[
            (escape_text(name), found) for name, pair in data.pairs.items() if (found := heat_map(pair)) is not None
        ],
        rule=_rule(data.rule_counts),
        provenance=list(_flatten(spec.provenance))[:MAX_PROVENANCE],
        arguments=list(_flatten(spec.as_config)),
        version=__version__,
    )


def policy(style: str, script: str) -> str:
    """Content security policy that allows this style, this script and ``data:`` images, and nothing else."""
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def rate(kept: int, scored: int) -> float | None:
    """Share of the scored rows; None without scored rows."""
    return kept / scored if scored else None


def format_share(value: float | None) -> str:
    """Percentage of a share, "none" for None.

    Examples
    --------
    >>> format_share(0.25314), format_share(0.0000264), format_share(None)
    ('25.31%', '0.0026%', 'none')
    """
    if value is None:
        return "none"
    return f"{value:.2%}" if value >= 0.001 or not value else f"{value:.4%}"


def format_count(value: int) -> str:
    """Count with thousands separators."""
    return f"{value:,}"


def _asset(name: str) -> str:
    return files("dask_aesthetic.report").joinpath("template", name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _counts(
    distribution: ScoreDistribution, kept: np.ndarray, threshold: Threshold, span: plots.Range
) -> dict[str, Any]:
    """Data of the slider: number of rows kept at every hundredth."""
    steps = int(STEPS * SCALES[distribution.scale])
    low = {} if threshold.higher_is_better else {"keepsLow": True}
    return {"low": span.low, "steps": steps, "scored": distribution.count, "kept": kept.tolist(), **low}


def _nearest(threshold: Threshold, span: plots.Range) -> int:
    return min(max(round(threshold.value * SCALES[threshold.scale] * STEPS), span.low), span.high)


def _format_score(value: float, scale: str) -> str:
    return f"{value:.{2 if scale == 'raw' else 3}f}"


def _format_threshold(threshold: Threshold) -> str:
    """Threshold with the digits of the slider, or with all its digits."""
    text = _format_score(threshold.value, threshold.scale)
    return text if float(text) == threshold.value else f"{threshold.value:.8g}"


def _threshold_rows(
    distribution: ScoreDistribution, kept: np.ndarray, span: plots.Range, scale: str
) -> list[dict[str, Any]]:
    """Rows kept by threshold: at every quarter of a raw score, with presets and LAION's published shares.

    Of a narrow range, such as probabilities have, at every twentieth.
    """
    comparable = _is_laion(distribution)
    names = {round(value * STEPS): name for name, value in PRESETS.items()} if comparable else {}
    published = {round(score * STEPS): share for score, share in LAION_SHARES.items()} if comparable else {}
    counts = kept.tolist()
    step = ROW_STEP if span.high - span.low > FEW_ROWS * ROW_STEP else FINE_STEP
    quarters = range(-(-span.low // step) * step, span.high + 1, step)
    return [
        {
            "score": at / (STEPS * SCALES[scale]),
            "name": names.get(at, ""),
            "kept": counts[at - span.low],
            "rate": rate(counts[at - span.low], distribution.count),
            "laion": published.get(at),
        }
        for at in quarters
    ]


def _is_laion(distribution: ScoreDistribution) -> bool:
    """Whether the scores are on the scale of LAION's published counts and of the presets."""
    return is_on_preset_scale(distribution.predictor_scale, distribution.predictor)


def _failures(distribution: ScoreDistribution) -> list[dict[str, Any]]:
    known = dict(sorted(distribution.reasons.items(), key=lambda item: (-item[1], item[0])))
    rest = distribution.missing - sum(known.values())
    if rest:
        known["unknown"] = known.get("unknown", 0) + rest
    return [
        {
            "reason": escape_text(reason),
            "rows": rows,
            "share": rows / distribution.rows,
            "meaning": MEANINGS.get(reason, ""),
        }
        for reason, rows in known.items()
    ]


def _group(group: Any, part: ScoreDistribution, kept: int) -> dict[str, Any]:
    return {
        "name": None if group is None else escape_text(group),
        "rows": part.rows,
        "scored": part.count,
        "kept": kept,
        "rate": rate(kept, part.count),
        "mean": part.mean if part.count else None,
    }


def _samples(data: ReportData, spec: ReportSpec) -> Iterator[dict[str, Any]]:
    """Sampled rows by place: around the threshold, then from the best bucket to the worst."""
    places: dict[int, list[ReportSample]] = {}
    for sample in data.samples:
        places.setdefault(sample.place, []).append(sample)
    high = spec.threshold.higher_is_better
    sides = (ABOVE, BELOW) if high else (BELOW, ABOVE)
    for place in (*sides, *sorted((place for place in places if place >= -1), reverse=high)):
        if place in places:
            cards = [_card(sample, spec) for sample in places[place]]
            yield {"heading": _heading(place, spec), "cards": cards, "border": place < -1}


def _heading(place: int, spec: ReportSpec) -> str:
    if place < -1:
        return f"Just {'above' if place == ABOVE else 'below'} the threshold of {_format_threshold(spec.threshold)}"
    low, high = (_format_score(end, spec.threshold.scale) for end in bucket_ends(place, spec.threshold.scale))
    return f"{low} to {high}".replace("-inf", "lowest").replace("inf", "highest")


def _card(sample: ReportSample, spec: ReportSpec) -> dict[str, Any]:
    exact = float(sample.score)
    # Of a long path the end, which says most, would not be shown.
    short = sample.image_name if spec.columns.get("key_column") == PATH else None
    return {
        "score": exact,
        # Near the threshold all digits matter.
        "shown": f"{exact:.7g}" if sample.place < -1 else _format_score(exact, spec.threshold.scale),
        "kept": bool(spec.threshold.keeps(exact)),
        "key": escape_text(sample.key if short is None else short),
        "image": sample.image,
        "link": link(sample.url) if sample.url is not None else None,
        "group": escape_text(sample.group) if sample.group is not None else "",
    }


def _rule(counts: RuleCounts | None) -> list[tuple[str, int, float | None]]:
    """Rows of the table of the rule: text, rows and their share."""
    if counts is None:
        return []
    total = "by any alternative" if counts.alternatives else "all together"
    kept = {**counts.clauses, **counts.alternatives, total: counts.kept}
    nulls = {f"without {name}": rows for name, rows in counts.nulls.items() if rows}
    override = {
        "kept by the override alone": counts.override_kept,
        "dropped by the override alone": counts.override_dropped,
    }
    changed = override if any(override.values()) else {}
    rows = {**kept, **nulls, **changed}
    return [(escape_text(text, MAX_LENGTH), count, rate(count, counts.rows)) for text, count in rows.items()]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and texts of nested provenance, without empty values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name} ")
        elif value not in (None, ""):
            yield escape_text(f"{prefix}{name}".replace("_", " ")), escape_text(value, MAX_LENGTH)
