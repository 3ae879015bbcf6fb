"""What is asked of a report, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from dask_aesthetic.errors import MissingDependencyError
from dask_aesthetic.id_columns import LABEL_COLUMNS, find_id_column
from dask_aesthetic.thresholds import Threshold, find_threshold
from dask_aesthetic.validation import check_integer

MOST_SAMPLES = 24


@dataclass(frozen=True)
class ReportSpec:
    """What a page shows.

    Attributes
    ----------
    columns : dict of str to str
        ``score_column`` and, as far as asked for, ``status_column``, ``by``, ``key_column``, ``image_column`` and
        ``url_column``.
    threshold : Threshold
        On the scale of the scores.
    known : dict of str to str
        ``scale`` and, as far as known, ``predictor`` and ``predictor_scale`` of the scores.
    samples, seed : int
        Rows shown of every bucket and on either side of the threshold, and what draws them.
    title : str
    provenance : dict
        What made the scores, for people to read; values may be dicts of the same.
    """

    columns: dict[str, str]
    threshold: Threshold
    known: dict[str, str]
    samples: int = 6
    seed: int = 0
    title: str = "Aesthetic scores"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        held: Iterable[object],
        columns: Mapping[str, str | None],
        threshold: float | str | Threshold,
        known: dict[str, str],
        samples: int,
        seed: int,
        title: str,
        provenance: Mapping[str, Any],
    ) -> ReportSpec:
        """Check the arguments of ``.aesthetic.report``; `held` are the names of the frame's columns."""
        need("jinja2", "a report")
        if columns.get("image_column") is not None:
            need("PIL", "showing pictures", "Pillow")
        check_integer("samples", samples, minimum=0, maximum=MOST_SAMPLES)
        check_integer("seed", seed)
        asked = {role: name for role, name in columns.items() if name is not None}
        if "key_column" not in asked and (key := find_id_column(held, LABEL_COLUMNS)) is not None:
            asked["key_column"] = key
        family, predictor = known.get("predictor_scale", "unknown"), known.get("predictor", "")
        cut = find_threshold(threshold, known["scale"], family, predictor)
        return cls(asked, cut, known, samples, seed, title, provenance)

    @property
    def counted(self) -> dict[str, str]:
        """The columns that are counted, as `count_groups` takes them."""
        return {role: self.columns[role] for role in ("score_column", "status_column", "by") if role in self.columns}

    @property
    def as_config(self) -> dict[str, Any]:
        """What was asked, for people to read."""
        cut = self.threshold
        return {
            **self.columns,
            "scale": cut.scale,
            "threshold": f"{cut.value:g}" + (f" ({cut.name})" if cut.name else ""),
            "samples": self.samples,
            "seed": self.seed,
        }

    @property
    def shown(self) -> dict[str, str]:
        """The columns that are read for the sampled rows alone."""
        return {role: self.columns[role] for role in ("image_column", "url_column", "by") if role in self.columns}


def need(module: str, purpose: str, package: str | None = None) -> None:
    """Refuse to begin without an optional package."""
    if find_spec(module) is None:
        raise MissingDependencyError(package or module, "report", purpose)
