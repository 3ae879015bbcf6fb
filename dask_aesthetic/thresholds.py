"""Thresholds with their scale and predictor, their presets, and the scales of scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import numpy as np

from dask_aesthetic.defaults import COSINE, PREDICTOR
from dask_aesthetic.errors import ArgumentError, ThresholdError, did_you_mean

# Divisor of a raw score. Raw scores of images run from about 1 to 10.
SCALES = {"raw": 1.0, "unit": 10.0}

PRESETS = {"permissive": 3.0, "standard": 5.0, "high": 6.0, "premium": 7.0}
PRESET_SCALE, DEFAULT_PRESET = "laion-v2", "standard"
UNKNOWN = "unknown"  # Predictor of a threshold that was chosen by scores without provenance.


@dataclass(frozen=True)
class Threshold:
    """Lowest score to keep (or the highest, where lower scores are better), with its scale and how it was chosen.

    Parameters
    ----------
    value : float
        Rows with at least this score are kept, or with at most this score where `higher_is_better` is False.
    scale : {"raw", "unit"}
        "raw" as the predictor returns it, about 1..10; "unit" is raw / 10.
    name : str
        How it was chosen, for people to read.
    predictor : str
        Name of the predictor that made the scores it was chosen by: scores of another predictor refuse it. "unknown"
        where nothing said it: scores of any but the default predictor refuse it. Empty for all predictors.
    higher_is_better : bool
        Direction of the predictor's scores.

    Notes
    -----
    The presets are 3, 5, 6 and 7 raw. NVIDIA's guide to NeMo Curator gives keep rates of 80, 50-60, 20-30 and
    5-10 % for them. LAION's own counts of `laion-v2` scores over 2.37 billion English pairs disagree: 25.3 % score
    5 or more and 0.51 % score 6 or more [1]_. The share kept depends on the images; inspect the
    distribution of your own scores.

    References
    ----------
    .. [1] LAION-Aesthetics, https://laion.ai/blog/laion-aesthetics/

    Examples
    --------
    >>> Threshold(0.5, "unit").on("raw")
    Threshold(value=5.0, scale='raw', name='', predictor='')
    >>> print(Threshold(5.12, name="keeps 0.2 of 1,000 scored rows", predictor="laion-v2"))
    raw score >= 5.12 for laion-v2: keeps 0.2 of 1,000 scored rows
    """

    value: float
    scale: str = "raw"
    name: str = ""
    predictor: str = ""
    higher_is_better: bool = field(default=True, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if isinstance(self.value, bool | str) or not math.isfinite(self.value):
            raise ThresholdError(f"expected a finite number as threshold, got {self.value!r}")

    def on(self, scale: str) -> Threshold:
        """Same threshold on another scale."""
        check_scale(scale)
        return self._at(self.value * SCALES[self.scale] / SCALES[scale], scale)

    def _at(self, value: float, scale: str) -> Threshold:
        return Threshold(value, scale, self.name, self.predictor, higher_is_better=self.higher_is_better)

    def keeps(self, scores: Any) -> Any:
        """Whether to keep each score, for arrays, tensors and Series of float32; no other code compares by direction.

        NaN and nulls are not kept.
        """
        return scores >= self.cut if self.higher_is_better else scores <= self.cut

    @property
    def cut(self) -> float:
        """Threshold value as the nearest float32, so that every library compares float32 scores with it alike."""
        return float(np.float32(self.value))

    def to_dict(self) -> dict[str, str | float]:
        """Dict of plain values, for JSON and `from_dict`.

        Examples
        --------
        >>> Threshold.from_dict(Threshold(5.0, name="standard").to_dict())
        Threshold(value=5.0, scale='raw', name='standard', predictor='')
        """
        values: dict[str, str | float] = {"value": float(self.value), "scale": self.scale}
        values.update(name=self.name, predictor=self.predictor)
        return values if self.higher_is_better else {**values, "higher_is_better": False}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Threshold:
        """Threshold from the dict of `to_dict`; ThresholdError if `values` are something else."""
        try:
            return Threshold(**values)
        except TypeError as error:
            raise ThresholdError(f"expected a threshold as Threshold.to_dict returns it, got {values!r}") from error

    def __str__(self) -> str:
        return self._condition() + (f": {self.name}" if self.name else "")

    def _repr_html_(self) -> str:
        return f"<b>{escape(self._condition())}</b>" + (f"<br>{escape(self.name)}" if self.name else "")

    def condition(self, score_column: str = "score") -> str:
        """What the threshold keeps, for people: "raw aesthetic_score >= 5"."""
        return f"{self.scale} {score_column} {'>=' if self.higher_is_better else '<='} {self.value:g}"

    def _condition(self) -> str:
        return self.condition() + (f" for {self.predictor}" if self.predictor not in ("", UNKNOWN) else "")


def find_threshold(
    threshold: float | str | Threshold,
    scale: str,
    predictor_scale: str,
    predictor: str = "",
    higher_is_better: bool | None = None,
    is_probability: bool = False,
) -> Threshold:
    """Threshold on a scale, from a number, a preset or another Threshold.

    Parameters
    ----------
    threshold : float, str or Threshold
        A number on `scale`, the name of a preset, or a Threshold, which is converted.
    scale : {"raw", "unit"}
    predictor_scale : str
        Family of the predictor's scores. Presets are set on "laion-v2" scores; a predictor of another or an unknown
        family refuses them. A predictor of an unknown family takes any number.
    predictor : str
        Name of the predictor, empty if unknown; then an unknown family counts as "laion-v2".
    higher_is_better : bool, optional
        Direction of the predictor's scores; that of a Threshold if not given, else True.
    is_probability : bool
        Whether the scores run from 0 to 1 on either scale; then the result is on the scale "raw".

    Raises
    ------
    ThresholdError
        The number belongs to another scale, or the preset or Threshold to another predictor.

    Examples
    --------
    >>> find_threshold("standard", "unit", "laion-v2").value
    0.5
    """
    check_scale(scale)
    scale = "raw" if is_probability else scale
    found = _find(threshold, scale, predictor_scale, predictor, higher_is_better, is_probability)
    return found if higher_is_better is None else replace(found, higher_is_better=higher_is_better)


def _find(
    threshold: float | str | Threshold,
    scale: str,
    predictor_scale: str,
    predictor: str,
    higher_is_better: bool | None,
    is_probability: bool,
) -> Threshold:
    if isinstance(threshold, Threshold):
        _check_predictor(threshold, predictor)
        if threshold.predictor and higher_is_better is False and threshold.higher_is_better:
            raise ThresholdError(
                f"expected a threshold that keeps low scores, as they are better for {predictor}, got one that keeps "
                f"high ones ({threshold}): threshold={threshold.value:g} keeps those below"
            )
        return threshold._at(threshold.value, scale) if is_probability else threshold.on(scale)
    if isinstance(threshold, str):
        return _preset(threshold, predictor_scale, predictor).on(scale)
    try:
        value = float(threshold)
    except (TypeError, ValueError) as error:
        raise ThresholdError(
            f"expected threshold to be a number, a preset ({', '.join(PRESETS)}) or a Threshold, got {threshold!r}"
        ) from error
    found = Threshold(threshold if isinstance(threshold, bool) else value, scale)
    if is_probability:
        if not 0 <= value <= 1:
            raise ThresholdError(f"expected a probability from 0 to 1 as threshold for {predictor}, got {value:g}")
        return found
    if predictor_scale == COSINE:
        if not -1 <= value <= 1:
            raise ThresholdError(f"expected a similarity from -1 to 1 as threshold, got {value:g}")
        return found
    # Of a predictor of one's own nothing says on what scale it scores.
    guess = "" if predictor and predictor_scale == "unknown" else _other_scale(value, scale)
    if guess:
        raise ThresholdError(
            f"expected a threshold on {scale} scores ({_range(scale)}), got {value:g}: did you mean {guess}? "
            f"Threshold({value:g}, {scale!r}) is taken as it stands"
        )
    return found


def is_on_preset_scale(predictor_scale: str, predictor: str) -> bool:
    """Whether presets and LAION's counts apply: to `laion-v2` scores, and to scores of unknown family and predictor."""
    return predictor_scale == PRESET_SCALE or (predictor_scale == "unknown" and not predictor)


def check_scale(scale: Any) -> None:
    """Refuse an unknown scale."""
    if scale not in SCALES:
        raise ArgumentError.choice("scale", scale, SCALES)


def _check_predictor(threshold: Threshold, predictor: str) -> None:
    if threshold.predictor == UNKNOWN and predictor not in ("", PREDICTOR):
        raise ThresholdError(
            f"expected a threshold for scores of {predictor}, got one that was chosen by scores of an unknown "
            f"predictor ({threshold}): choose it with predictor={predictor!r}. "
            f"Threshold({threshold.value:g}, {threshold.scale!r}) is taken as it stands"
        )
    if threshold.predictor not in ("", UNKNOWN) and predictor and threshold.predictor != predictor:
        raise ThresholdError(
            f"expected a threshold for scores of {predictor}, got one that was chosen by scores of "
            f"{threshold.predictor} ({threshold}): choose one by the distribution of {predictor} scores. "
            f"Threshold({threshold.value:g}, {threshold.scale!r}) is taken as it stands"
        )


def _preset(name: str, predictor_scale: str, predictor: str) -> Threshold:
    if name not in PRESETS:
        presets = ", ".join(f"{preset} ({value:g} raw)" for preset, value in PRESETS.items())
        raise ThresholdError(
            f"expected a number or one of the presets {presets}, got {name!r}{did_you_mean(name, PRESETS)}"
        )
    if not is_on_preset_scale(predictor_scale, predictor):
        whose = (
            f"nothing says on what scale {predictor} scores"
            if predictor_scale == "unknown"
            else f"{predictor_scale} scores are on a scale of their own"
        )
        raise ThresholdError(
            f"expected a number as threshold, got the preset {name!r}: presets are set on {PRESET_SCALE} scores, and "
            f"{whose}. Inspect the distribution of its scores and say threshold=<number> (--threshold)"
        )
    return Threshold(PRESETS[name], "raw", name)


def _other_scale(value: float, scale: str) -> str:
    if scale == "raw" and 0 < value < 1:
        return f"{value * 10:g}, or scale='unit'"
    if scale == "raw" and value > 10:
        return f"{value / 10:g}" if value <= 100 else "a number from 1 to 10"
    if scale == "unit" and value > 1:
        return f"{value / 10:g}, or scale='raw'" if value <= 10 else "a number from 0.1 to 1"
    return ""


def _range(scale: str) -> str:
    return f"about {1 / SCALES[scale]:g} to {10 / SCALES[scale]:g}"
