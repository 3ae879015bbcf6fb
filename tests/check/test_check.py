"""Check of embedding columns: counts against NumPy, verdicts on real embeddings, sampling, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import ArgumentError, Check, ColumnError, PredictorInfo, embeddings, load_predictor
from dask_aesthetic.check import check_spec, slice_column
from dask_aesthetic.check.measure import measure_partition
from dask_aesthetic.check_dataset import check_dataset
from dask_aesthetic.predictors import AffinePredictor
from helpers import columns, commands
from helpers.parquet_files import spoil

RELU = "ava+logos-l14-reluMSE.pth"


@pytest.fixture(scope="module")
def texts(shared) -> np.ndarray:
    return np.load(shared / "data/verite_l14/text_embeddings.npy")


@pytest.fixture(scope="module")
def b32(shared) -> np.ndarray:
    return np.load(shared / "data/clip_retrieval_b32/img_emb/img_emb_0.npy")


@pytest.fixture(scope="module")
def mixed_rows(vectors) -> list:
    """Rows of every status: 300 valid rows of norms 1 to 3, and invalid ones."""
    nan, infinite = vectors[0].copy(), vectors[1].copy()
    nan[3], infinite[700] = np.nan, -np.inf
    good = [vector * (1 + at % 3) for at, vector in enumerate(vectors)]
    wide = [np.ones(512, np.float32), np.zeros(512, np.float32), np.ones(5, np.float32), np.ones(5, np.float32)]
    rows = [*good, None, None, None, [], *wide, nan, infinite, np.zeros(768), *good[:40], good[0]]
    return [rows[at] for at in np.random.default_rng(3).permutation(len(rows))]


def check(vectors, kind="list", dtype="float32", **options) -> Check:
    return columns.frame(vectors, kind, dtype).aesthetic.check(**options)


def comparable(found: Check) -> dict:
    """Values of a check without the measured time."""
    return {name: value for name, value in found.to_dict().items() if name != "seconds"}


def levels(found: Check) -> list[str]:
    return [finding.level for finding in found.findings]


def findings_text(found: Check) -> str:
    return "\n".join(f"{finding.level}: {finding.what} -> {finding.do}" for finding in found.findings)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_real_image_embeddings_are_usable(verite, kind, dtype):
    found = check(verite, kind, dtype)
    assert found.usable
    assert found.verdict == "usable"
    assert (found.rows, found.inspected, found.widths, found.ok) == (509, 509, {768: 509}, 509)
    assert (found.normalized, found.encoder, found.encoder_rows["image"]) == (True, "image", 1.0)
    assert "caution" not in levels(found)
    distinct = len(np.unique(verite.astype(dtype).astype("float32"), axis=0))
    assert found.repeated == pytest.approx(1 - distinct / 509)
    assert sum(found.dtypes.values()) == 509


def test_real_text_embeddings_get_a_caution_and_stay_usable(texts):
    found = check(texts)
    assert found.usable
    assert found.encoder == "text"
    assert "where OpenAI's ViT-L/14 puts texts, not images (probability 98%" in found.verdict
    assert levels(found)[0] == "caution"


def test_rated_images_have_encoder_image(ratings):
    found = check(ratings)
    assert (found.encoder, found.encoder_rows) == ("image", {"image": 1.0, "text": 0.0, "other": 0.0})
    assert found.verdict == "usable"


@pytest.mark.parametrize("row", [0, 5, 9])
def test_encoder_of_a_single_row(ratings, row):
    assert check(ratings[row : row + 1]).encoder == "image"


def test_b32_embeddings_are_pointed_to_their_predictor(b32):
    found = check(b32, dtype="float16")
    assert not found.usable
    assert found.verdict == "not usable: 9 rows (100.0%) of 512 floats, and laion-v2 takes 768"
    assert "predictor='laion-v1-b32' if ViT-B-32-quickgelu (openai) made them" in found.findings[0].do
    assert found.norm_median == pytest.approx(1, abs=1e-3)
    right = check(b32, dtype="float16", predictor="laion-v1-b32")
    assert right.usable
    assert (right.ok, right.encoder) == (9, None)


def test_width_that_no_predictor_takes():
    found = check(np.ones((3, 1024)))
    assert found.verdict == "not usable: 3 rows (100.0%) of 1,024 floats, and laion-v2 takes 768"
    assert "trained on 1,024 floats" in found.findings[0].do


def test_unnormalized_embeddings_are_usable_with_the_same_scores(verite):
    found, plain = check(verite * 13), check(verite)
    assert found.verdict == "usable, not normalized (fine: scoring normalizes)"
    assert found.normalized is False
    assert (found.norm_min, found.norm_max) == pytest.approx((13, 13), rel=1e-5)
    assert found.encoder_rows == plain.encoder_rows
    assert found.scores.mean == pytest.approx(plain.scores.mean, abs=1e-6)


def test_one_percent_nan_is_a_caution(verite):
    rows = np.concatenate([verite] * 2)[:1000].copy()
    rows[::100, 5] = np.nan
    found = check(rows)
    assert found.usable
    assert found.verdict == "usable, with caution: 10 rows (1.0%) with NaN, infinity or a null"
    assert (found.not_finite, found.ok) == (10, 990)


def test_usable_if_half_of_the_rows_are_valid(vectors):
    for bad, usable in ((149, True), (150, True), (151, False)):
        rows = vectors.copy()
        rows[:bad] = np.nan
        found = check(rows)
        assert found.usable is usable
    assert check([None] * 290 + list(vectors[:10])).usable  # Failed downloads alone are no reason.


@pytest.mark.parametrize("rows", [[], [None, None], [None, []]])
def test_nothing_to_score_is_not_usable(kind, rows):
    if kind == "fixed_size_list" and [] in rows:
        pytest.skip("a fixed-size list is never empty")
    found = check(rows, kind)
    assert not found.usable
    assert found.verdict.startswith("not usable: nothing to score: ")
    assert found.findings[0].do
    json.loads(found.to_json())


def test_random_vectors_get_a_caution_only(vectors):
    found = check(vectors)
    assert found.usable
    assert found.encoder == "other"
    assert "as another encoder's of the same width would" in found.verdict


def test_mixture_of_images_and_texts_has_their_shares(verite, texts):
    found = check(np.concatenate([verite, texts[:300]]))
    assert found.usable
    assert found.encoder_rows["image"] == pytest.approx(509 / 809)
    assert "62.9% where it puts images" in found.verdict


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_counts_equal_numpy(mixed_rows, dtype):
    for kind in ("list", "large_list", "object", "object_lists"):
        found = check(mixed_rows, kind, dtype)
        rows = [None if row is None else np.asarray(row, np.float64) for row in mixed_rows]
        full = [row for row in rows if row is not None and len(row) in (512, 768)]
        good = [row for row in full if np.isfinite(row).all() and row.any()]
        norms = np.array([np.linalg.norm(row) for row in good])
        assert found.nulls == sum(row is None for row in rows) == 3
        assert found.empty == 1
        widths, counts = np.unique([len(row) for row in rows if row is not None and len(row)], return_counts=True)
        assert found.widths == dict(zip(widths.tolist(), counts.tolist(), strict=True))
        assert (found.not_finite, found.zero) == (2, 2)
        counted = columns.frame(mixed_rows, kind, dtype).aesthetic.status().value_counts()
        assert found.status == counted[counted > 0].to_dict()
        assert found.norm_min == pytest.approx(norms.min(), rel=1e-6)
        assert found.norm_max == pytest.approx(norms.max(), rel=1e-6)
        assert found.norm_median == pytest.approx(np.sort(norms)[(len(norms) - 1) // 2], rel=1e-3)
        assert found.normalized is False
        _, times = np.unique([row for row in good if len(row) == 768], axis=0, return_counts=True)
        assert (found.repeated, found.most_repeated) == (pytest.approx(1 - 300 / 341), times.max())
        scored = columns.frame(mixed_rows, kind, dtype).aesthetic.score()
        plain = scored.aesthetic.distribution(predictor="laion-v2")
        assert np.array_equal(found.scores.bins, plain.bins)
        assert (found.scores.min, found.scores.max, found.scores.mean) == (plain.min, plain.max, plain.mean)


def test_fixed_size_lists_with_null_rows_and_null_floats(vectors):
    rows = [*vectors[:20], None, vectors[20]]
    lists = columns.array(rows, "fixed_size_list")
    leaves = pa.array([*lists.values.to_pylist()[:5], None, *lists.values.to_pylist()[6:]], pa.float32())
    holed = pa.FixedSizeListArray.from_arrays(leaves, 768, mask=pa.array([row is None for row in rows]))
    frame = pd.DataFrame({"image_embedding": pd.arrays.ArrowExtensionArray(pa.chunked_array([holed]))})
    found = frame.aesthetic.check()
    assert (found.nulls, found.not_finite, found.ok, found.widths) == (1, 1, 20, {768: 21})
    assert found.storage == {"Arrow fixed_size_list": 22}


@pytest.mark.parametrize("partitions", [1, 3, 20])
def test_result_is_the_same_for_every_partitioning_and_order(mixed_rows, verite, partitions):
    rows = mixed_rows + list(verite[:100])
    expected = comparable(check(rows))
    ddf = dd.from_pandas(columns.frame(rows, "list"), npartitions=partitions)
    assert comparable(ddf.aesthetic.check()) == expected
    empty = ddf.partitions[:1].map_partitions(lambda part: part.iloc[:0], meta=ddf._meta)
    assert comparable(dd.concat([ddf, empty]).aesthetic.check()) == expected
    shuffled = [rows[at] for at in np.random.default_rng(partitions).permutation(len(rows))]
    assert comparable(check(shuffled)) == expected


def test_network_predictor_on_a_dask_frame(shared, vectors):
    frame = columns.frame(vectors[:50], "list")
    head = shared / "weights" / RELU
    found = dd.from_pandas(frame, npartitions=3).aesthetic.check(predictor=head)
    assert comparable(found) == comparable(frame.aesthetic.check(predictor=head))
    assert found.ok == 50


def test_reads_only_the_embedding_column(tmp_path, vectors):
    for number, part in enumerate(np.array_split(vectors, 3)):
        write(tmp_path / f"{number}.parquet", part)
    spoil(str(tmp_path), {"key"})
    ddf = dd.read_parquet(tmp_path, dtype_backend="pyarrow")
    assert ddf.aesthetic.check().ok == 300
    spoil(str(tmp_path), {"image_embedding"})
    with pytest.raises(OSError):  # noqa: PT011, the damage of this test, as pyarrow reports it
        ddf.aesthetic.check()


def test_sample_reads_the_first_rows_of_some_partitions(vectors):
    read = []

    def part(at: int) -> pd.DataFrame:
        read.append(at)
        return columns.frame(vectors[:20], "list")

    ddf = dd.from_map(part, range(100), meta=columns.frame(vectors[:0], "list"))
    with dask.config.set(scheduler="synchronous"):
        found = ddf.aesthetic.check(sample=64)
        assert sorted(read) == [at * 100 // 32 for at in range(32)]
        assert (found.inspected, found.rows, found.rows_estimated, found.sampled) == (64, 2000, True, True)
        assert found.repeated == pytest.approx(1 - 2 / 64)
        assert "about 2,000, 64 inspected" in repr(found)
        assert comparable(ddf.aesthetic.check(sample=64)) == comparable(found)
        whole = ddf.aesthetic.check()
    assert (whole.inspected, whole.rows, whole.sampled) == (2000, 2000, False)


@pytest.mark.parametrize("sample", [1, 31, 32, 100, 299])
def test_sample_of_a_frame_in_memory(vectors, sample):
    found = check(vectors, sample=sample)
    assert found.rows == 300
    assert sample <= found.inspected <= sample + 31
    assert found.sampled is (found.inspected < 300)
    assert check(vectors, sample=300).sampled is False


def test_sample_includes_the_last_part(vectors):
    rows = vectors.copy()
    rows[280:] = np.nan
    assert check(rows, sample=96).not_finite > 0


@pytest.mark.parametrize("sample", [0, -1, 2.5, "all", True])
def test_sample_must_be_a_number_of_rows(vectors, sample):
    with pytest.raises(ArgumentError, match="expected sample to be a whole number of rows"):
        check(vectors, sample=sample)


def test_string_column_is_a_finding_and_not_an_error(vectors):
    frame = columns.frame(vectors[:3], "list").assign(text=["[0.1 0.2]", "a", "b"])
    found = frame.aesthetic.check("text")
    assert not found.usable
    assert "got strings" in found.verdict
    assert found.candidates == ("image_embedding",)
    assert found.findings[0].do == "say embedding_column='image_embedding'"
    assert found.rows == 3


def test_objects_converted_to_strings_by_dask(vectors):
    frame = columns.frame(vectors[:6], "object")
    with dask.config.set({"dataframe.convert-string": True}):
        found = dd.from_pandas(frame, npartitions=2).aesthetic.check()
    assert not found.usable
    assert "dataframe.convert-string" in found.verdict
    assert found.rows == 6


def test_partition_of_strings_with_meta_of_lists(vectors):
    good = columns.frame(vectors[:4], "list")[["image_embedding"]]
    bad = pd.DataFrame({"image_embedding": pd.array(["a", "b"], dtype=pd.ArrowDtype(pa.string()))})
    ddf = dd.from_map(lambda at: (good, bad)[at], [0, 1], meta=good.iloc[:0], enforce_metadata=False)
    found = ddf.aesthetic.check()
    assert not found.usable
    assert "in column 'image_embedding', got string[" in found.verdict


def test_lists_of_words_and_objects_that_are_no_lists(vectors):
    lists = pd.array([["a"] * 768], dtype=pd.ArrowDtype(pa.list_(pa.string())))
    found = pd.DataFrame({"image_embedding": lists}).aesthetic.check()
    assert not found.usable
    assert "got list<" in found.verdict
    rows = np.empty(4, object)
    rows[:] = [vectors[0], "a", b"b", {"c": 1}]
    found = pd.DataFrame({"image_embedding": rows}).aesthetic.check()
    assert (found.not_lists, found.ok, found.usable) == (3, 1, False)
    assert "3 rows (75.0%) of str, bytes, dict, no lists" in found.verdict


def test_missing_column_raises_like_score(vectors):
    frame = columns.frame(vectors[:3], "list")
    for one in (frame, dd.from_pandas(frame, npartitions=2)):
        with pytest.raises(ColumnError) as checked:
            one.aesthetic.check("embedding")
        with pytest.raises(ColumnError) as scored:
            one.aesthetic.score("embedding")
        assert str(checked.value) == str(scored.value)


def test_scores_outside_1_to_10_are_counted(verite):
    weight = load_predictor().weight / np.linalg.norm(load_predictor().weight)
    rows = np.concatenate([verite[:500], [weight, weight, -weight]])
    found = check(rows)
    assert (found.below, found.above) == (1, 2)
    assert "3 of 503 scores lie outside 1..10: they go from -12.76 to 23.23" in findings_text(found)
    assert found.usable
    assert check(np.concatenate([verite[:50], [weight]])).verdict.startswith("usable, with caution: 1 of 51 scores")


def test_placeholder_vector_is_found(verite):
    _, first = np.unique(verite, axis=0, return_index=True)
    distinct = verite[np.sort(first)]
    found = check(np.concatenate([distinct, np.repeat(distinct[:1], 20, axis=0)]))
    assert found.most_repeated == 21
    assert "one and the same vector stands in 21 rows" in found.verdict
    assert check(distinct).repeated == 0


def test_zero_copy_of_every_storage(vectors, kind):
    series = columns.make(vectors, kind)
    found = pd.DataFrame({"image_embedding": series}).aesthetic.check()
    run = next(iter(embeddings.runs(series, 768)))
    if kind in columns.ARROW:
        lists = pa.array(series.array)
        chunk = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
        buffer = chunk.values.buffers()[1]
        assert buffer.address <= run.vectors.data_ptr() < buffer.address + buffer.size
    assert found.zero_copy is (kind in columns.ARROW)
    assert ("objects, which are copied" in findings_text(found)) is (kind not in columns.ARROW)


def test_scoring_is_timed_on_one_slice(vectors):
    frame = columns.frame(vectors, "list")
    slices = slice_column(frame["image_embedding"], 64)
    assert len(slices) == 32
    timed = measure_partition([slices[0].iloc[:0], *slices], len(frame), check_spec(load_predictor()))
    assert timed.timed_rows == 2048  # Those of the first slice, repeated.
    found = frame.aesthetic.check(sample=64)
    assert found.seconds > 0
    assert "on one core, without reading" in repr(found)
    empty = dd.from_pandas(frame, npartitions=2).partitions[:1].map_partitions(lambda part: part.iloc[:0])
    assert dd.concat([empty, dd.from_pandas(frame, npartitions=2)]).aesthetic.check().seconds is None


def test_html_is_escaped_and_json_has_plain_values(mixed_rows):
    frame = columns.frame(mixed_rows, "list").rename(columns={"image_embedding": "<b>&"})
    found = frame.aesthetic.check("<b>&")
    page = found._repr_html_()
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    read = json.loads(found.to_json())
    assert read["usable"] is True
    assert read["status"] == found.status
    assert read["widths"] == {str(width): rows for width, rows in found.widths.items()}
    assert [finding["what"] for finding in read["findings"]] == [finding.what for finding in found.findings]
    for finding in found.findings:
        assert finding.do


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_norms_beyond_the_range_of_float32(vectors, scale):
    found = check(vectors.astype("float64") * scale, dtype="float64")
    assert found.norm_median == pytest.approx(scale, rel=1e-3)
    assert (found.ok, found.encoder_rows) == (300, check(vectors).encoder_rows)


def write(path: Path, rows, dtype: str = "float32", **options) -> Path:
    table = pa.table(
        {"key": [str(at) for at in range(len(rows))], "image_embedding": columns.array(rows, "list", dtype)}
    )
    pq.write_table(table, path, **options)
    return path


def run(*arguments: object) -> commands.Ended:
    return commands.run("check", *arguments)


def test_command_equals_method(tmp_path, vectors):
    file = write(tmp_path / "a.parquet", vectors, use_dictionary=False)
    done = run(file)
    assert done.status == 0, done
    assert done.out.startswith("Check of 'image_embedding' for laion-v2: usable, with 1 caution\n")
    assert "dictionary" not in done.out
    read = json.loads(run(file, "--json").out)
    expected = json.loads(json.dumps(comparable(check(vectors))))
    assert {name: value for name, value in read.items() if name != "seconds"} == expected


def test_command_exits_with_1_if_not_usable(tmp_path, vectors):
    file = write(tmp_path / "a.parquet", vectors[:, :512])
    done = run(file, "--json")
    assert done.status == 1, done
    assert json.loads(done.out)["usable"] is False
    assert run(file, "--predictor", "laion-v1-b32").status == 0


@pytest.mark.parametrize(
    "arguments", [["--embedding-column", "nothing"], ["--predictor", "nothing"], ["--sample", "0"]]
)
def test_command_exits_with_2_on_bad_usage(tmp_path, vectors, arguments):
    done = run(write(tmp_path / "a.parquet", vectors), *arguments)
    assert done.status == 2, done
    assert done.err.strip().splitlines()[-1].startswith("Error: ")
    assert run(tmp_path / "nowhere").status == 2


def test_command_reports_a_damaged_file(tmp_path, vectors):
    file = write(tmp_path / "a.parquet", vectors)
    spoil(str(tmp_path), {"image_embedding"})
    done = run(file)
    assert done.status == 2, done
    assert f"Error: expected a whole Parquet file, got {file}" in done.err


def test_command_reads_clip_retrieval(shared):
    done = run(shared / "data/clip_retrieval_b32", "--predictor", "laion-v1-b32")
    assert done.status == 0, done
    assert "9" in done.out.splitlines()[1]
    assert run(shared / "data/clip_retrieval_b32", "--format", "clip-retrieval").status == 1


def test_command_advises_on_dictionaries(tmp_path, vectors):
    done = run(write(tmp_path / "a.parquet", vectors, "float16"))
    assert done.status == 0, done
    assert "use_dictionary=False" in done.out
    plain = run(write(tmp_path / "b.parquet", vectors, "float16", use_dictionary=["key"]))
    assert "use_dictionary" not in plain.out


def with_nulls_alone(vectors, kind, good: int, bad: int) -> pd.DataFrame:
    """Good rows, then rows of the right width whose floats are all null."""
    rows = [*vectors[:good].tolist(), *[[None] * 768] * bad]
    if kind in columns.ARROW:
        types = {"list": pa.list_(pa.float32()), "large_list": pa.large_list(pa.float32())}
        lists = pa.array(rows, types.get(kind, pa.list_(pa.float32(), 768)))
        column = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([lists])))
    elif kind == "object":
        column = pd.Series([*vectors[:good], *[np.ma.masked_all(768, "float32")] * bad], dtype=object)
    else:
        column = pd.Series(rows, dtype=object)
    return pd.DataFrame({"image_embedding": column})


@pytest.mark.parametrize("bad", [2, 12])
def test_rows_of_nulls_alone_are_not_finite(vectors, kind, bad):
    found = with_nulls_alone(vectors, kind, 10, bad).aesthetic.check()
    assert (found.ok, found.missing, found.nulls, found.empty, found.not_finite) == (10, 0, 0, 0, bad)
    assert f"{bad} rows ({bad / (10 + bad):.1%}) with NaN, infinity or a null -> " in findings_text(found)
    assert found.usable == (bad < 10)


def test_column_of_nulls_alone_is_not_usable(vectors, kind):
    found = with_nulls_alone(vectors, kind, 0, 3).aesthetic.check()
    assert found.verdict == "not usable: 3 rows (100.0%) with NaN, infinity or a null"


def test_column_of_bytes_is_not_usable(vectors):
    rows = pd.Series([memoryview(row.tobytes()) for row in vectors[:3]], dtype=object)
    found = pd.DataFrame({"image_embedding": rows}).aesthetic.check()
    assert not found.usable
    assert "got bytes (objects of memoryview)" in found.verdict


@pytest.mark.parametrize("row", [bytearray(768), memoryview(bytes(768)), np.void(bytes(768)), b"x" * 768])
def test_bytes_of_any_type_are_no_lists(vectors, row):
    found = pd.DataFrame({"image_embedding": pd.Series([vectors[0], row], dtype=object)}).aesthetic.check()
    assert (found.ok, found.not_lists, found.empty, found.zero, found.widths) == (1, 1, 0, 0, {768: 1})


# Several predictors


def test_each_of_several_predictors_is_measured_as_alone(verite, tmp_path):
    frame = columns.frame([*verite[:200], None, verite[0][:512]], "list")
    predictors = {"a": "laion-v2", "b": "laion-v1-l14", "unsafe": "nsfw-l14"}
    alone = {name: frame.aesthetic.check(predictor=one) for name, one in predictors.items()}
    frame.to_parquet(tmp_path / "in.parquet")
    for found in (
        frame.aesthetic.check(predictor=predictors),
        dd.from_pandas(frame, npartitions=3).aesthetic.check(predictor=predictors),
        check_dataset(tmp_path / "in.parquet", predictor=predictors),
    ):
        assert found.usable
        assert list(found.others) == ["b", "unsafe"]
        assert (found.predictor, found.predictor_encoder) == ("laion-v2", "ViT-L-14-quickgelu (openai)")
        for name, one in {"a": found, **found.others}.items():
            assert one.scores.to_json() == alone[name].scores.to_json()
            assert (one.predictor, one.width, one.ok) == (predictors[name], 768, 200)
            assert one.encoder == alone[name].encoder == "image"
            assert (one.below, one.above) == (alone[name].below, alone[name].above)
        text = repr(found)
        assert "for laion-v2, laion-v1-l14, nsfw-l14: usable" in text
        assert "laion-v1-l14 (768 floats of ViT-L-14-quickgelu (openai)), nsfw-l14 (768" in text
        assert "unsafe scores  min 0.0" in text
        assert text.count("rows lie where OpenAI's ViT-L/14 puts images") == 1
        values = json.loads(found.to_json())
        assert values["others"]["unsafe"]["scores"]["max"] == pytest.approx(alone["unsafe"].scores.max)
    assert "others" not in json.loads(alone["a"].to_json())


def test_predictors_of_other_widths_and_encoders_are_findings(verite, tmp_path):
    frame = columns.frame(verite[:50], "fixed_size_list")
    b16 = PredictorInfo(name="theirs", width=768, encoder="SigLIP")
    theirs = AffinePredictor(np.ones(768), 0.0, b16)
    found = frame.aesthetic.check(predictor={"a": "laion-v2", "b": "laion-v1-b32"})
    assert not found.usable
    assert (found.ok, found.others["b"].ok, found.others["b"].width) == (50, 0, 512)
    assert [finding.what for finding in found.findings if finding.level == "not usable"] == [
        "expected predictors of one width, as they score the same column, got laion-v2 (768), laion-v1-b32 (512): "
        "score each column alone",
        "b by laion-v1-b32: 50 rows (100.0%) of 768 floats, and laion-v1-b32 takes 512",
    ]
    found = frame.aesthetic.check(predictor={"a": "laion-v2", "b": theirs})
    assert not found.usable
    assert "expected predictors of one encoder's embeddings" in found.verdict
    assert "theirs (768 floats of SigLIP)" in repr(found)
    assert found.others["b"].encoder is None
    frame.to_parquet(tmp_path / "in.parquet")
    both = ["--predictor", "a=laion-v2", "--predictor", "b=laion-v1-b32"]
    ended = run(tmp_path / "in.parquet", *both)
    assert ended.status == 1
    assert "expected 512 floats per row in 'image_embedding' for laion-v1-b32" in " ".join(ended.out.split())
