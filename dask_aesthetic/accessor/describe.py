"""What ``frame.aesthetic`` can do with a frame, by its types alone: nothing is computed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from dask_aesthetic import embeddings
from dask_aesthetic.defaults import EMBEDDING_COLUMN, IMAGE_COLUMN, PREDICTOR
from dask_aesthetic.predictors import load_predictor
from dask_aesthetic.provenance import Provenance
from dask_aesthetic.score_spec import default_threshold
from dask_aesthetic.tables import Facts
from dask_aesthetic.thresholds import find_threshold

MOST_NAMES = 8  # Columns in the title.
COLUMNS = ("embedding_column", "text_column", "image_column")  # Arguments for columns that have to be there.


def describe(accessor: Any) -> tuple[str, Facts]:
    """Title and rows of an accessor's printed form: its columns, its default predictor, and its methods."""
    frame = accessor._frame
    meta = getattr(frame, "_meta", frame)
    lists, scores = embeddings.candidates(meta), dict(_scores(meta))
    usable = {*meta.columns} - {EMBEDDING_COLUMN} | {*lists}
    facts = {
        "embeddings": _embeddings(meta, lists),
        "scores": [f"{name!r}{by}" for name, by in scores.items()] or "none yet",
        "images": f"{IMAGE_COLUMN!r}, {meta[IMAGE_COLUMN].dtype}" if IMAGE_COLUMN in meta.columns else "",
        "predictor": _predictor(),
    }
    ready: dict[str, str] = {}
    lacking: dict[str, list[str]] = {}
    for name, method in _public(type(accessor)).items():
        missing = _missing(method, usable, bool(scores))
        if missing:
            lacking.setdefault(missing, []).append(name)
        else:
            ready[f"{name}({_required(method)})"] = _first_line(method)
    needs = [f"{missing}: {', '.join(names)}" for missing, names in lacking.items()]
    return _title(frame, meta), {**facts, **ready, "lacks": needs}


def _title(frame: Any, meta: Any) -> str:
    library = type(meta).__module__.partition(".")[0]
    if meta is frame:
        size = f"{library} frame, {len(frame):,} {'row' if len(frame) == 1 else 'rows'}"
    else:
        size = f"Dask frame of {library}, {frame.npartitions:,} partition{'' if frame.npartitions == 1 else 's'}"
    names = [repr(name) for name in meta.columns]
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f".aesthetic of a {size}, with {', '.join(names[:MOST_NAMES]) or 'no columns'}{more}"


def _embeddings(meta: Any, lists: list[str]) -> str:
    if EMBEDDING_COLUMN in lists:
        return f"{EMBEDDING_COLUMN!r}, {meta[EMBEDDING_COLUMN].dtype}"
    others = " or ".join(f"embedding_column={name!r}" for name in lists[:MOST_NAMES])
    return f"no {EMBEDDING_COLUMN!r} of lists of floats" + (f"; say {others}" if others else "")


def _scores(meta: Any) -> Iterator[tuple[str, str]]:
    """Columns of scores, by provenance or by their usual name, and the predictor of each as far as it is known."""
    first = Provenance.first_score(meta)
    known = Provenance.of_frame(meta, first)
    for name in dict.fromkeys([first, *known.score_columns]):
        if name in meta.columns:
            its = known.of_score(name)
            predictor = its.known.get("predictor")
            yield name, f" by {predictor}, {its.find_scale(None)}" if predictor else ""


def _predictor() -> str:
    info = load_predictor(PREDICTOR).info
    keeps = find_threshold(default_threshold(info) or 0.0, "raw", info.scale).condition()
    return f"{info.name} by default, for {info.width} floats of {info.encoder}; keeps {keeps}"


def _missing(method: Any, usable: set[Any], has_scores: bool) -> str:
    """Columns that a method takes by default and a frame lacks; empty if it has all of them."""
    defaults = {one.name: one.default for one in inspect.signature(method).parameters.values()}
    wanted = [defaults[role] for role in COLUMNS if defaults.get(role) is not None]
    if not wanted and "score_column" in defaults:
        return "" if has_scores else "a column of scores"
    return " and ".join(repr(name) for name in wanted if name not in usable)


def _required(method: Any) -> str:
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return ", ".join(one.name for one in parameters if one.default is one.empty)


def _first_line(method: Any) -> str:
    return (inspect.getdoc(method) or "").partition("\n")[0].replace("`", "").removesuffix(".")


def _public(accessor: type) -> Mapping[str, Any]:
    """Methods in the order of the accessor's base classes."""
    return {
        name: method
        for base in accessor.__mro__
        for name, method in vars(base).items()
        if not name.startswith("_") and inspect.isfunction(method)
    }
