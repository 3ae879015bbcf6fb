"""Validated arguments of a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from dask_aesthetic.errors import ArgumentError, MissingDependencyError
from dask_aesthetic.id_columns import LABEL_COLUMNS, find_id_column
from dask_aesthetic.keep_rule import KeepRule, KeepSpec
from dask_aesthetic.provenance import refuse_unknown_direction
from dask_aesthetic.report.image_source import ImageSource
from dask_aesthetic.report.pairs import SHOWN_PAIRS, cells_of
from dask_aesthetic.thresholds import Threshold, find_threshold
from dask_aesthetic.validation import check_integer

MAX_SAMPLES = 24


@dataclass(frozen=True)
class ReportSpec:
    """Validated arguments of a report.

    Attributes
    ----------
    columns : dict of str to str
        Column names by role: ``score_column`` and, if asked for, ``status_column``, ``by``, ``key_column``,
        ``image_column`` and ``url_column``.
    threshold : Threshold
        On the scale of the scores.
    known : dict of str to str
        ``scale`` and, as far as known, ``predictor`` and ``predictor_scale`` of the scores.
    samples, seed : int
        Sampled rows of every bucket and on each side of the threshold, and the seed of the sample.
    title : str
    provenance : dict
        Origin of the scores, for people to read; values may be nested dicts.
    cells : dict of str to float
        Width of the cells of the heat maps, by column, of frames that are known to hold several scores.
    keep : KeepSpec or None
        Rule and override of the run, if the frame has their columns.
    image_ids : tuple of str
        Columns that say which image of other files a row is of.
    image_files : dict of str to str
        Paths of these files, for people to read, by the argument that gave them.
    """

    columns: dict[str, str]
    threshold: Threshold
    known: dict[str, str]
    samples: int = 6
    seed: int = 0
    title: str = "Aesthetic scores"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    cells: Mapping[str, float] = field(default_factory=dict)
    keep: KeepSpec | None = None
    image_ids: tuple[str, ...] = ()
    image_files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        frame_columns: Iterable[object],
        columns: Mapping[str, str | None],
        threshold: float | str | Threshold,
        known: dict[str, str],
        samples: int,
        seed: int,
        title: str,
        provenance: Mapping[str, Any],
        images: ImageSource | None = None,
    ) -> ReportSpec:
        """Check the arguments of ``.aesthetic.report``; `frame_columns` are the names of the frame's columns."""
        require("jinja2", "a report")
        if columns.get("image_column") is not None and images is not None:
            raise ArgumentError(
                f"expected image_column or {images.kind} (--image-column, --{images.kind}), got both: name the one "
                "that has the images"
            )
        samples = check_integer("samples", samples, minimum=0, maximum=MAX_SAMPLES)
        seed = check_integer("seed", seed)
        asked = {role: name for role, name in columns.items() if name is not None}
        if "key_column" not in asked and (key := find_id_column(frame_columns, LABEL_COLUMNS)) is not None:
            asked["key_column"] = key
        family, predictor = known.get("predictor_scale", "unknown"), known.get("predictor", "")
        info = provenance.get("predictor", {})
        if not info:
            refuse_unknown_direction(asked["score_column"], "predictor")
        found = find_threshold(
            threshold,
            known["scale"],
            family,
            predictor,
            bool(info.get("higher_is_better", True)) if info else None,
            bool(info.get("is_probability", False)),
        )
        cells = cells_of(provenance, frame_columns)
        shown = dict(provenance)
        if cells:
            shown["scores"] = {one["column"]: one["predictor"]["name"] for one in provenance.get("scores", [])}
        keep = None
        if "keep" in provenance:
            rule = KeepRule.from_dict(provenance["keep"])
            shown["keep"] = str(rule)
            keep = KeepSpec(rule, provenance.get("override_column"))
            keep = keep if set(keep.columns) <= set(frame_columns) else None
        # Not the files themselves: every task of a graph gets the spec.
        ids, files = (images.columns, {images.kind: images.shown}) if images is not None else ((), {})
        return cls(asked, found, known, samples, seed, title, shown, cells, keep, ids, files)

    @property
    def others(self) -> list[str]:
        """Columns of other scores that are counted together with the first."""
        if self.columns["score_column"] not in self.cells:
            return []
        return [name for name in self.cells if name != self.columns["score_column"]][:SHOWN_PAIRS]

    @property
    def counted(self) -> dict[str, str]:
        """Counted columns by role, as `count_groups` takes them."""
        return {role: self.columns[role] for role in ("score_column", "status_column", "by") if role in self.columns}

    @property
    def as_config(self) -> dict[str, Any]:
        """Arguments for people to read."""
        threshold = self.threshold
        return {
            **self.columns,
            **self.image_files,
            "scale": threshold.scale,
            "threshold": f"{threshold.value:g}" + (f" ({threshold.name})" if threshold.name else ""),
            "samples": self.samples,
            "seed": self.seed,
        }

    @property
    def shown(self) -> dict[str, str]:
        """Columns by role that are read for the sampled rows only."""
        shown = {role: self.columns[role] for role in ("image_column", "url_column", "by") if role in self.columns}
        return shown | {name: name for name in self.image_ids}  # Each is a role of its own.


def require(module: str, purpose: str, package: str | None = None) -> None:
    """Raise MissingDependencyError if an optional package is not installed."""
    if find_spec(module) is None:
        raise MissingDependencyError(package or module, "report", purpose)
