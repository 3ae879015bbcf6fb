"""Several predictors in one call: the scores of single calls, bit for bit, in every verb that scores."""

from __future__ import annotations

import logging
import pickle
from functools import partial
from itertools import combinations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    PredictorError,
    Threshold,
    ThresholdError,
    load_predictor,
    read_and_score,
    score_embeddings,
)
from dask_aesthetic.errors import InvalidEmbeddingError
from dask_aesthetic.predictors import passes
from dask_aesthetic.score_spec import ScoreSpec
from helpers import columns, several
from helpers.laziness import no_compute
from helpers.predictors import HEADS, head
from helpers.several import AFFINE


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    return several.with_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def single(vectors, predictors):
    """Scores of each predictor in a call of its own."""
    frame = columns.frame(several.rows(vectors), "list")
    return {
        name: frame.aesthetic.score(predictor=one, score_column=name)[name].to_numpy()
        for name, one in predictors.items()
    }


@pytest.fixture(scope="module")
def parquet(vectors, tmp_path_factory):
    """Row groups that are scored in place, and others."""
    file = tmp_path_factory.mktemp("parquet") / "a.parquet"
    table = {"key": [f"k{at}" for at in range(len(vectors))]}
    table["image_embedding"] = columns.array(several.rows(vectors), "list")
    pq.write_table(pa.table(table), file, row_group_size=60, use_dictionary=["key"])
    return file


def assert_single(frame: pd.DataFrame, single, names) -> None:
    for name in names:
        assert frame[name].dtype == "float32"
        assert frame[name].to_numpy().tobytes() == single[name].tobytes(), name


@pytest.mark.parametrize(
    ("kind", "frames"),
    [*((kind, "pandas") for kind in ("list", "large_list", "object", "object_lists")), ("list", "dask")],
)
def test_frames_get_the_scores_of_single_calls(vectors, predictors, single, kind, frames):
    frame = columns.frame(several.rows(vectors), kind)
    if frames == "dask":
        with no_compute():
            lazy = dd.from_pandas(frame, npartitions=4).aesthetic.score(predictor=predictors)
        scored = lazy.compute()
        assert lazy._meta.dtypes.equals(scored.dtypes)
    else:
        scored = frame.aesthetic.score(predictor=predictors)
    assert list(scored.columns) == ["key", "image_embedding", *predictors, "keep"]
    assert_single(scored, single, predictors)
    expected = np.nan_to_num(single["aesthetic_score"]) >= 5
    assert scored["keep"].tolist() == expected.tolist()


def test_every_pair_and_order_has_the_same_bits(vectors, single, predictors):
    frame = columns.frame(several.rows(vectors), "list")
    for names in [*combinations(predictors, 2), tuple(reversed(predictors))]:
        scored = frame.aesthetic.score(predictor={name: predictors[name] for name in names}, threshold=None)
        assert list(scored.columns) == ["key", "image_embedding", *names]
        assert_single(scored, single, names)


def test_sixteen_predictors_have_the_bits_of_each_alone(vectors, tmp_path):
    many = {}
    for at in range(16):
        predictor = several.unsafe(is_probability=False)
        many[f"s{at}"] = type(predictor)(np.roll(predictor.weight, at) * (at + 1), at, predictor.info)
    found = score_embeddings(vectors, many)
    for name, predictor in many.items():
        assert found[name].tobytes() == predictor.score(torch.from_numpy(vectors))[0].numpy().tobytes()


def test_affine_predictors_of_one_precision_share_a_pass(predictors):
    each = tuple(load_predictor(one) for one in predictors.values())
    assert [one.at for one in passes(each)] == [[0, 3], [1], [2]]
    assert [one.at for one in passes(each[:1])] == [[0]]


def test_files_read_and_scored_get_the_scores_of_single_calls(parquet, predictors, single, in_pages, caplog):
    caplog.set_level(logging.DEBUG, "dask_aesthetic.shard_scores")
    for chosen in (AFFINE, predictors):
        scored = read_and_score(parquet, rows_per_partition=100, predictor=chosen).compute(scheduler="sync")
        assert list(scored.columns) == ["key", *chosen, "keep"]
        assert_single(scored, single, chosen)
        part = read_and_score(parquet, rows_per_partition=100, predictor=chosen)[["simulacra"]].compute(
            scheduler="sync"
        )
        assert_single(part, single, ["simulacra"])
    # Of affine predictors alone; two of the five row groups hold rows that pyarrow has to read.
    ways = sorted(message.rpartition(": ")[2].partition(" row")[0] for message in caplog.messages)
    assert ways == ["0 of 2", "0 of 2", "1 of 1", "1 of 1", "2 of 2", "2 of 2"]


@pytest.mark.parametrize("filesystem", ["fsspec", "arrow"])
def test_frames_scored_while_dask_reads_get_the_scores_of_single_calls(
    parquet, predictors, single, filesystem, in_pages
):
    groups = {"split_row_groups": True} if filesystem == "fsspec" else {}
    frame = dd.read_parquet(parquet, dtype_backend="pyarrow", filesystem=filesystem, **groups)
    scored = frame.aesthetic.score(predictor=AFFINE)[["key", *AFFINE, "keep"]]
    assert "ReadAestheticColumns" in repr(scored.optimize(fuse=False).expr.tree_repr())
    assert_single(scored.compute(), single, AFFINE)
    some = frame[frame["key"] > "k2"].aesthetic.score(predictor=AFFINE)[["key", "ava_score", "simulacra"]].compute()
    kept = [f"k{at}" > "k2" for at in range(300)]
    assert some["key"].tolist() == [f"k{at}" for at in range(300) if kept[at]]
    assert_single(some, {name: values[kept] for name, values in single.items()}, ["ava_score", "simulacra"])
    whole = frame.aesthetic.score(predictor=predictors)[["key", *predictors]].compute()  # A network is not fused.
    assert_single(whole, single, predictors)


def test_arrays_and_filter(vectors, predictors, single):
    found, status = score_embeddings(several.rows(vectors), predictors, return_status=True)
    assert list(found) == list(predictors)
    for name, scores in found.items():
        assert scores.tobytes() == single[name].tobytes()
    assert [at for at, name in enumerate(status) if name != "ok"] == [3, 40, 41, 77]
    frame = columns.frame(several.rows(vectors), "list")
    kept = frame.aesthetic.filter(predictor=AFFINE, threshold=5.3)
    assert kept.index.tolist() == np.flatnonzero(np.nan_to_num(single["aesthetic_score"]) >= 5.3).tolist()
    assert_single(kept, {name: values[kept.index] for name, values in single.items()}, AFFINE)


def test_a_mapping_of_one_is_a_named_column(vectors):
    frame = columns.frame(vectors, "list")
    pd.testing.assert_frame_equal(
        frame.aesthetic.score(predictor={"mine": "laion-v2"}), frame.aesthetic.score(score_column="mine")
    )


def test_the_unit_scale_divides_all_scores_but_probabilities(vectors):
    frame = columns.frame(vectors, "list")
    chosen = {"aesthetic_score": "laion-v2", "unsafe": several.unsafe()}
    raw, unit = (frame.aesthetic.score(predictor=chosen, scale=scale) for scale in ("raw", "unit"))
    assert unit["unsafe"].tolist() == raw["unsafe"].tolist()
    assert unit["aesthetic_score"].tolist() == (raw["aesthetic_score"] / np.float32(10)).tolist()
    assert unit["keep"].tolist() == raw["keep"].tolist()


def test_real_embeddings_have_the_published_scores(verite, reference, shared):
    chosen = {name: load_predictor(head(one, shared)) for name, one in HEADS.items()}
    frame = columns.frame(verite, "fixed_size_list")
    scored = frame.aesthetic.score(predictor=chosen)
    for name, predictor in chosen.items():
        atol = 1e-5 if name != "simulacra_sac_public_vit_l_14" else 1e-4
        np.testing.assert_allclose(scored[name].to_numpy(), reference[name], rtol=0, atol=atol)
        alone = frame.aesthetic.score(predictor=predictor, threshold=None)["aesthetic_score"]
        assert scored[name].to_numpy().tobytes() == alone.to_numpy().tobytes()


def test_an_unusable_row_raises_once_for_all(vectors):
    frame = columns.frame(several.rows(vectors), "list")
    with pytest.raises(InvalidEmbeddingError, match=r"row 3 .*missing"):
        frame.aesthetic.score(predictor=AFFINE, on_invalid="raise")


# Defaults of predictors


def test_a_predictor_brings_column_direction_and_threshold(vectors):
    frame = columns.frame(vectors, "list")
    scored = frame.aesthetic.score(predictor=several.unsafe())
    assert list(scored.columns) == ["key", "image_embedding", "unsafe_probability", "keep"]
    assert scored["keep"].tolist() == (scored["unsafe_probability"] <= 0.5).tolist()
    assert 0 < scored["keep"].sum() < len(scored)
    lazy = dd.from_pandas(frame, npartitions=2).aesthetic.score(predictor=several.unsafe(), threshold=0.49)
    assert lazy["keep"].compute().tolist() == (scored["unsafe_probability"] <= np.float32(0.49)).tolist()
    kept = frame.aesthetic.filter(predictor=several.unsafe())
    assert kept["unsafe_probability"].max() <= 0.5


@pytest.mark.parametrize(
    ("arguments", "keeps"),
    [
        ({}, True),
        ({"predictor": "laion-v2-ava"}, True),
        ({"predictor": "laion-v1-l14"}, False),
        ({"predictor": "laion-v1-l14", "threshold": 5}, True),
        ({"threshold": None}, False),
        ({"threshold": None, "predictor": AFFINE}, False),
        ({"predictor": {"b": "simulacra-l14", "a": "laion-v2"}}, False),
    ],
)
def test_keep_is_left_out_where_there_is_no_threshold(vectors, parquet, arguments, keeps):
    frame = columns.frame(vectors, "list")
    assert ("keep" in frame.aesthetic.score(**arguments)) == keeps
    assert ("keep" in dd.from_pandas(frame, npartitions=2).aesthetic.score(**arguments).compute()) == keeps
    assert ("keep" in read_and_score(parquet, **arguments).compute()) == keeps


def test_predictors_keep_their_defaults_in_files(tmp_path):
    several.unsafe().save(tmp_path / "unsafe.safetensors")
    loaded = load_predictor(tmp_path / "unsafe.safetensors")
    assert loaded.info == several.unsafe().info
    assert "threshold" not in load_predictor("laion-v2").info.to_dict()
    several.unsafe(threshold="high").save(tmp_path / "bad.safetensors")
    with pytest.raises(PredictorError, match="expected a header that this package wrote"):
        load_predictor(tmp_path / "bad.safetensors")


# Refused


REFUSED = [
    (["laion-v2", "laion-v1-l14"], {}, PredictorError, "or several by the columns of their scores"),
    ({}, {}, ArgumentError, "one predictor or more, by the columns of their scores, got an empty mapping"),
    (
        {"a": "laion-v2", "b": "laion-v1-b32"},
        {},
        ColumnError,
        r"one width, .* got laion-v2 \(768\), laion-v1-b32 \(512",
    ),
    (
        {"a": "laion-v1-b32", "b": "laion-v1-b16"},
        {},
        ArgumentError,
        "one encoder's embeddings, .* laion-v1-b16 of ViT-B",
    ),
    ({"a": "laion-v2", "b": "nobody"}, {}, PredictorError, "got 'nobody'"),
    ({"a": "laion-v2", 5: "laion-v2-ava"}, {}, ArgumentError, "a column of predictor to be the name of one column"),
    (AFFINE, {"score_column": "mine"}, ArgumentError, "no score_column beside predictors by column, got 'mine'"),
    ({"key": "laion-v2", "b": "laion-v2-ava"}, {}, ColumnError, "'key' to be a new column, got one that is there"),
    ({"image_embedding": "laion-v2"}, {}, ColumnError, "to differ from the embedding column"),
    ({"a": "laion-v2", "keep": "laion-v2-ava"}, {}, ColumnError, "keep_column='keep' to differ from column 2 of pred"),
    ({"a": "laion-v2", "b": "simulacra-l14"}, {"threshold": 0.5}, ThresholdError, "did you mean 5"),
    ({"b": "simulacra-l14", "a": "laion-v2"}, {"threshold": "high"}, ThresholdError, "simulacra scores are on a scale"),
    (several.unsafe(), {"threshold": 5}, ThresholdError, "a probability from 0 to 1 as threshold for unsafe, got 5"),
    (several.unsafe(), {"threshold": Threshold(0.2, predictor="unsafe")}, ThresholdError, "0.2 keeps those below"),
]


@pytest.mark.parametrize(("predictor", "arguments", "error", "message"), REFUSED)
@pytest.mark.parametrize("verb", ["score", "filter", "read_and_score"])
def test_predictors_that_do_not_go_together_are_refused(vectors, parquet, verb, predictor, arguments, error, message):
    frame = columns.frame(vectors[:3], "list")
    call = partial(read_and_score, parquet) if verb == "read_and_score" else getattr(frame.aesthetic, verb)
    with no_compute(), pytest.raises(error, match=message):
        call(predictor=predictor, **arguments)


def test_what_keeps_rows_needs_a_threshold(vectors):
    frame = columns.frame(vectors[:3], "list")
    with pytest.raises(ThresholdError, match="threshold with filter, got none: laion-v1-l14 has no default threshold"):
        frame.aesthetic.filter(predictor="laion-v1-l14")
    with pytest.raises(ThresholdError, match="threshold with filter, got none: no threshold was asked for"):
        frame.aesthetic.filter(threshold=None)


def test_a_check_takes_predictors_of_the_same_embeddings(vectors):
    frame = columns.frame(vectors, "list")
    assert frame.aesthetic.check(predictor=AFFINE).predictor == "laion-v2"
    apart = frame.aesthetic.check(predictor={"a": "laion-v2", "b": "laion-v1-b32"})
    assert not apart.usable
    assert "expected predictors of one width" in apart.verdict


def test_a_spec_pickles_without_what_each_process_makes(predictors):
    spec = ScoreSpec.of("image_embedding", AFFINE, "default", "raw", None, "keep", "null", None)
    passes(spec.predictors)
    assert len(pickle.dumps(spec)) < 3 * 7000
    assert pickle.loads(pickle.dumps(spec)) == spec
