"""Provenance of scores: the predictor, scale and threshold that files of scores name, and the frames read from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dask_aesthetic.defaults import COSINE, SCORE_COLUMN, SIMILARITY
from dask_aesthetic.errors import ArgumentError, InputError, ThresholdError
from dask_aesthetic.predictors import PredictorInfo, list_predictors
from dask_aesthetic.thresholds import DEFAULT_PRESET, Threshold, find_threshold, is_on_preset_scale

METADATA_KEY = "dask_aesthetic"  # Of the schema metadata of Parquet files, and of a frame's `attrs`.


@dataclass(frozen=True)
class Provenance:
    """Provenance of a column of scores; empty where nothing is known.

    Attributes
    ----------
    record : dict
        As docs/job-files.md describes it.
    columns : dict of str to str
        Names of the columns by role: ``score_column``, ``keep_column`` and ``status_column``. Of several scores, the
        first.
    """

    record: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_files(cls, schemas: Iterable[tuple[str, pa.Schema]]) -> Provenance:
        """Provenance that all files share, from their paths and schemas.

        Raises
        ------
        InputError
            The files are of several predictors or scales, whose scores do not belong together.
        """
        found = [(path, schema, _record(path, schema)) for path, schema in schemas]
        records = [(path, record) for path, _, record in found]
        columns = _columns(*found[0][1:])
        first_path, first = records[0]
        for path, other in records[1:]:
            for name in ("weights_sha256", "scale"):
                if first.get(name) != other.get(name):
                    raise InputError(
                        f"expected scores of one predictor on one scale, got {name} {first.get(name)} in {first_path} "
                        f"and {other.get(name)} in {path}: take them one by one"
                    )
            if first.get("scores") != other.get("scores"):
                raise InputError(
                    f"expected the same columns of scores in all files, got {_named(first)} in {first_path} and "
                    f"{_named(other)} in {path}: take them one by one"
                )
        shared = {name: value for name, value in first.items() if all(one.get(name) == value for _, one in records)}
        return cls(shared, columns if shared else {})

    def of_score(self, score_column: str) -> Provenance:
        """Provenance of one of several columns of scores; the threshold is that of the first.

        The similarity counts as a score of a predictor of its own. Of other columns nothing is known.
        """
        if score_column == self.columns.get("score_column"):
            return self
        score = next((one for one in self.record.get("scores", []) if one["column"] == score_column), None)
        if score is None and score_column == self.similarity_column:
            score = {"predictor": {"name": SIMILARITY, "scale": COSINE}, "weights_sha256": None, "scale": "raw"}
        if score is None:
            return Provenance()
        record = {name: value for name, value in self.record.items() if name != "threshold"}
        record.update((name, value) for name, value in score.items() if name != "column")
        columns = {role: name for role, name in self.columns.items() if role != "keep_column"}
        return Provenance(record, {**columns, "score_column": score_column})

    @classmethod
    def first_score(cls, frame: Any) -> str:
        """Name of a frame's first column of scores whose provenance is known, else the default name."""
        return next(iter(_marked(frame)), SCORE_COLUMN)

    @classmethod
    def only_score(cls, frame: Any) -> str:
        """Name of a frame's one column of scores whose provenance is known, else the default name.

        Raises
        ------
        ArgumentError
            There are several.
        """
        return one_score(_marked(frame))

    @classmethod
    def of_frame(cls, frame: Any, score_column: str) -> Provenance:
        """Provenance of a column of scores in a pandas, cuDF or Dask frame of `read_scores`.

        Scores that were added since under the same name have another type, and no provenance.
        """
        meta = getattr(frame, "_meta", frame)
        mark = getattr(meta, "attrs", {}).get(METADATA_KEY, {}).get(score_column)
        if mark is None or score_column not in meta.columns or str(meta[score_column].dtype) != mark["dtype"]:
            return cls()
        return cls(mark["record"], {role: name for role, name in mark["columns"].items() if name in meta.columns})

    def mark(self, frame: Any) -> Any:
        """The pandas frame, after the provenance is put into its `attrs`."""
        marks = {}
        for name in (*self.score_columns, *([self.similarity_column] if self.similarity_column else [])):
            if name in frame.columns:
                its = self.of_score(name)
                dtype = str(frame[name].dtype)
                marks[name] = {"record": dict(its.record), "columns": dict(its.columns), "dtype": dtype}
        if marks:
            frame.attrs[METADATA_KEY] = marks
        return frame

    @property
    def known(self) -> dict[str, str]:
        """``predictor`` and ``predictor_scale`` as `ScoreDistribution` takes them; empty if unknown."""
        info = self.record.get("predictor")
        return {"predictor": info["name"], "predictor_scale": info["scale"]} if info else {}

    @property
    def score_columns(self) -> list[str]:
        """Names of the columns of scores; empty if unknown."""
        first = self.columns.get("score_column")
        return [one["column"] for one in self.record.get("scores", [])] or ([first] if first is not None else [])

    @property
    def similarity_column(self) -> str:
        """Name of the column of similarities; empty if there is none."""
        return str(self.record.get("similarity", {}).get("column", ""))

    @property
    def higher_is_better(self) -> bool:
        """Direction of the scores."""
        return bool(self.record.get("predictor", {}).get("higher_is_better", True))

    def find_scale(self, requested: str | None) -> str:
        """The scale that the files name, else the requested one, else "raw".

        Raises
        ------
        ArgumentError
            The files and the request differ.
        """
        if requested is not None and requested != self.record.get("scale", requested):
            raise ArgumentError(f"expected scale={self.record['scale']!r}, as the files say, got {requested!r}")
        return requested or str(self.record.get("scale", "raw"))

    def find_threshold(
        self, requested: float | str | Threshold | None, info: PredictorInfo | None = None
    ) -> float | str | Threshold:
        """The requested threshold, else that of the run, else the predictor's own, else the preset "standard".

        Where presets mean nothing, the score of the last row that `select_dataset` kept as best stands in for them.
        """
        if requested is not None:
            return requested
        if "threshold" in self.record:
            return Threshold.from_dict(self.record["threshold"])
        own = info.threshold if info is not None else self.record.get("predictor", {}).get("threshold")
        if own is None and (cut := self._cut_of_selection(info)) is not None:
            return cut
        known = self.known
        if (
            own is None
            and info is None
            and known
            and not is_on_preset_scale(known["predictor_scale"], known["predictor"])
        ):
            raise ThresholdError(
                f"expected a threshold, as {known['predictor']} has no default one, got none: say threshold=<number> "
                "(--threshold); frame.aesthetic.distribution() and the summary of the run show its scores"
            )
        return DEFAULT_PRESET if own is None else Threshold(own, name="default", higher_is_better=self._direction(info))

    def _cut_of_selection(self, info: PredictorInfo | None) -> Threshold | None:
        """Score of the last of the best rows that a selection kept, of scores that presets do not fit."""
        selected, known = self.record.get("selected", {}), self.known
        if not known or is_on_preset_scale(known["predictor_scale"], known["predictor"]):
            return None
        cut, column = selected.get("cut"), selected.get("score_column")
        if not isinstance(cut, float) or column != self.columns.get("score_column"):
            return None
        better = self._direction(info)
        return Threshold(cut, self.find_scale(None), selected["kept"], known["predictor"], higher_is_better=better)

    def _direction(self, info: PredictorInfo | None) -> bool:
        return self.higher_is_better if info is None else info.higher_is_better

    def usual_threshold(self, known: Mapping[str, str], info: PredictorInfo | None) -> Threshold | None:
        """Threshold of the run, else the default one of the scores, on their scale; None if there is neither.

        Parameters
        ----------
        known : dict of str to str
            As `describe` gives it.
        info : PredictorInfo or None
            Of the requested predictor.
        """
        family, predictor = known.get("predictor_scale", "unknown"), known.get("predictor", "")
        usual = self.find_threshold(None, info)
        if usual == DEFAULT_PRESET and not is_on_preset_scale(family, predictor):
            return None
        return find_threshold(usual, known["scale"], family, predictor, self._direction(info))

    def on_scores(self, threshold: float | str | Threshold, scale: str | None) -> Threshold:
        """A threshold on the scores' scale and in their direction, as of `find_threshold`.

        Raises
        ------
        ThresholdError, ArgumentError
        """
        known = self.describe(scale)
        return find_threshold(
            threshold,
            known["scale"],
            known.get("predictor_scale", "unknown"),
            known.get("predictor", ""),
            self.higher_is_better if known.get("predictor") else None,
            bool(self.record.get("predictor", {}).get("is_probability", False)),
        )

    def describe(self, scale: str | None, info: PredictorInfo | None = None) -> dict[str, str]:
        """``scale``, ``predictor`` and ``predictor_scale`` of the scores: what is known of requested ones.

        Raises
        ------
        ArgumentError
            The files name another scale or predictor than is requested.
        """
        known = self.known
        if info is not None:
            if known and known["predictor"] != info.name:
                raise ArgumentError(
                    f"expected predictor={known['predictor']!r}, as the files of the scores say, got {info.name!r}"
                )
            known = {"predictor": info.name, "predictor_scale": info.scale}
        return {"scale": self.find_scale(scale), **known}


def refuse_unknown_direction(score_column: str, argument: str) -> None:
    """Refuse scores that nothing but their name describes, if lower ones are better of the predictor with this name.

    Raises
    ------
    ArgumentError
        It asks for `argument`.
    """
    for info in list_predictors().values():
        if info.score_column == score_column and not info.higher_is_better:
            raise ArgumentError(
                f"expected {argument} with scores in {score_column!r}, got none: of {info.name}, which gives them this "
                "name, lower ones are better, and nothing says that these are its own"
            )


def has_one_rule(schemas: Iterable[tuple[str, pa.Schema]]) -> bool:
    """Whether the keep columns of all files are of one threshold or rule."""
    found = [_record(path, schema) for path, schema in schemas]
    rules = [[record.get(name) for name in ("threshold", "keep", "override_column")] for record in found]
    return all(rule == rules[0] for rule in rules)


def one_score(names: Sequence[str]) -> str:
    """The name of the one column of scores; the default name where none is known.

    Raises
    ------
    ArgumentError
        There are several.
    """
    if len(names) > 1:
        raise ArgumentError(
            f"expected score_column (--score-column) where there are several scores, got none: {', '.join(names)}"
        )
    return names[0] if names else SCORE_COLUMN


def _marked(frame: Any) -> list[str]:
    """Columns of a frame's scores whose provenance is known, without the similarity."""
    meta = getattr(frame, "_meta", frame)
    marks = getattr(meta, "attrs", {}).get(METADATA_KEY, {})
    return [
        name
        for name, mark in marks.items()
        if name in meta.columns and mark["record"].get("similarity", {}).get("column") != name
    ]


def _record(path: str, schema: pa.Schema) -> dict[str, Any]:
    try:
        record = json.loads((schema.metadata or {}).get(METADATA_KEY.encode(), b"{}"))
        if not isinstance(record, dict):
            raise ValueError("it is no object")
        scores = record.get("scores", [])
        if not isinstance(scores, list) or not all(isinstance(one, dict) for one in scores):
            raise ValueError("its scores are no list of objects")
        if not all(isinstance(one.get("column"), str) and one["column"] in schema.names for one in scores):
            raise ValueError("a column of its scores is missing")
        if not all(isinstance(one.get("scale", ""), str) for one in scores):
            raise ValueError("a scale of its scores is no text")
        similarity = record.get("similarity", {"column": ""})
        if not isinstance(similarity, dict) or not isinstance(similarity.get("column"), str):
            raise ValueError("its similarity has no column")
        for info in [one.get("predictor") for one in (record, *scores) if "predictor" in one or one is not record]:
            if not isinstance(info, dict) or not all(isinstance(info.get(name), str) for name in ("name", "scale")):
                raise ValueError("its predictor has no name or scale")
    except ValueError as error:
        raise InputError(f"expected provenance as dask-aesthetic writes it in {path}: {error}") from error
    return record


def _named(record: Mapping[str, Any]) -> str:
    return ", ".join(one["column"] for one in record.get("scores", [])) or "one score"


def _columns(schema: pa.Schema, record: Mapping[str, Any]) -> dict[str, str]:
    """Names of the columns that a job adds, which are the last; the score's default name for other files."""
    scores = [one["column"] for one in record.get("scores", [])]
    if scores and schema.names[-1] == "status":
        has_keep = schema.names[-2] != scores[-1] and schema.types[-2] == pa.bool_()
        return {
            "score_column": scores[0],
            **({"keep_column": schema.names[-2]} if has_keep else {}),
            "status_column": "status",
        }
    if len(schema) > 2:
        score, keep, status = list(schema)[-3:]
        if score.type == pa.float32() and keep.type == pa.bool_() and status.name == "status":
            return {"score_column": score.name, "keep_column": keep.name, "status_column": status.name}
    return {"score_column": SCORE_COLUMN} if SCORE_COLUMN in schema.names else {}
