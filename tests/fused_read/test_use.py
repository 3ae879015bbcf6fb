"""What users do with scored frames: the same results, whether embeddings were read as a column or not."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

from helpers.parquet_frames import EMBEDDING, SCORE, assert_same, by_partition, is_scored

ADDED = ["aesthetic_score", "keep"]
SOME = ["key", *ADDED]


def score(frame):
    return frame.aesthetic.score(**SCORE)


def score_again(frame):
    return frame.aesthetic.score(**SCORE, replace_columns=True)


def large(frame):
    return frame[frame["area"] > 500]


def area(frame):
    return frame.assign(area=frame["width"] * 2, one=1)


# Whether it is scored while it is read in folders of files that Dask merges, and of what is done with it.
USES = {
    "length": (None, lambda _, s: len(s)),
    "length of kept": (None, lambda _, s: len(s[s["keep"]])),
    "head": (None, lambda _, s: s.head(4)),
    "head of some columns": (True, lambda _, s: s[SOME].head(4, compute=False)),
    "head of kept": (None, lambda _, s: s[s["keep"]][SOME].head(2, npartitions=-1, compute=False)),
    "head of all partitions": (True, lambda _, s: s[SOME].head(70, npartitions=-1, compute=False)),
    "tail": (None, lambda _, s: s[SOME].tail(4)),
    "persist": (None, lambda _, s: s[SOME].persist(scheduler="sync").compute()),
    "optimize first": (None, lambda _, s: s[SOME].optimize()[["aesthetic_score"]]),
    "kept": (True, lambda _, s: s[s["keep"]][SOME]),
    "filter": (True, lambda d, _: d.aesthetic.filter(**SCORE)[SOME]),
    "drop": (True, lambda _, s: s.drop(columns=EMBEDDING)),
    "the embeddings too": (False, lambda _, s: s[[EMBEDDING, "aesthetic_score"]]),
    "mean by keep": (True, lambda _, s: s.groupby("keep")["aesthetic_score"].mean()),
    "mean": (True, lambda _, s: s["aesthetic_score"].mean()),
    "largest": (True, lambda _, s: s.nlargest(5, "aesthetic_score")[SOME]),
    "repartition": (True, lambda _, s: s[SOME].repartition(npartitions=2)),
    "a partition": (True, lambda _, s: s.partitions[1][SOME]),
    "index": (None, lambda _, s: s.index.to_series()),
    "assign to the frame": (None, lambda d, s: d.assign(q=s["aesthetic_score"])[["key", "q"]]),
    "assign to the whole frame": (False, lambda d, s: d.assign(q=s["aesthetic_score"])),
    "assign, all but embeddings": (None, lambda d, s: d.assign(q=s["aesthetic_score"]).drop(columns=EMBEDDING)),
    "a column beside": (None, lambda d, s: s[["aesthetic_score"]].assign(x=d["width"])),
    "rows by another column": (None, lambda d, s: s[d["width"] > 500][SOME]),
    "rows of the frame": (None, lambda d, s: d[s["keep"]][["key", "width"]]),
    "arithmetic": (None, lambda d, s: s["aesthetic_score"] + d["probability"]),
    "merge with the frame": (None, lambda d, s: s[SOME].merge(d[["key", "width"]], on="key")),
    "a function of partitions": (True, lambda _, s: s[SOME].map_partitions(lambda part: part[part["keep"]])),
    "assign after": (True, lambda _, s: s.assign(rounded=s["aesthetic_score"].round(1))[["key", "rounded"]]),
    "a sample": (True, lambda _, s: s[SOME].sample(frac=0.5, random_state=1)),
    "delayed": (None, lambda _, s: pd.concat(dask.compute(*s[SOME].to_delayed(), scheduler="sync"))),
    "two scales": (False, lambda _, s: s.aesthetic.score(**SCORE, score_column="b", keep_column="k")[["b", *ADDED]]),
    "scored again": (False, lambda _, s: s.aesthetic.score(**SCORE, replace_columns=True)[SOME]),
    "status": (True, lambda d, _: d.aesthetic.status(predictor=SCORE["predictor"])),
    "status beside": (
        None,
        lambda d, _: d[["key"]].assign(status=d.aesthetic.status(predictor=SCORE["predictor"])),
    ),
    # Between the reader and the score
    "projected": (True, lambda d, _: score(d[["url", EMBEDDING, "key"]])[SOME]),
    "filtered": (True, lambda d, _: score(d[d["width"] > 900])[SOME]),
    "assigned": (True, lambda d, _: score(area(d))[[*SOME, "area", "one"]]),
    "renamed": (
        True,
        lambda d, _: d.rename(columns={"key": "id", EMBEDDING: "e"}).aesthetic.score("e", **SCORE)[["id", *ADDED]],
    ),
    "a score column before": (True, lambda d, _: score_again(d.assign(keep=1))[["key", "keep"]]),
    "filtered by an assigned column": (True, lambda d, _: score(large(area(d)))[SOME]),
    "filtered again": (True, lambda d, _: score(large(large(area(d))))[SOME]),
    "filtered by a mean": (False, lambda d, _: score(d[d["width"] > d["width"].mean()])[SOME]),
    "filtered by embeddings": (False, lambda d, _: score(d[d[EMBEDDING].notnull()])[SOME]),
    "other embeddings": (False, lambda d, _: score(d.assign(**{EMBEDDING: d[EMBEDDING]}))[SOME]),
    "a function before": (False, lambda d, _: score(d.map_partitions(lambda part: part))[SOME]),
    "persisted before": (False, lambda d, _: score(d.persist(scheduler="sync"))[SOME]),
    "repartitioned before": (False, lambda d, _: score(d.repartition(npartitions=2))[SOME]),
}


@pytest.mark.parametrize("use", USES)
def test_results_are_those_of_frames_that_hold_the_embeddings(folders, use):
    swapped, run = USES[use]
    frame = dd.read_parquet(str(folders / "many"), dtype_backend="pyarrow")
    found = run(frame, score(frame))
    with by_partition():
        expected = run(frame, score(frame))
    if swapped is not None:
        assert is_scored(found) == swapped
    if use.startswith("merge"):
        expected, found = (
            one.compute(scheduler="sync").sort_values("key", ignore_index=True) for one in (expected, found)
        )
    assert_same(expected, found)
