"""Similarity of images and texts in jobs: the frame's bits, both statuses, rules, layouts, resume, and refusals."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    InputError,
    InvalidEmbeddingError,
    ThresholdError,
    UnusableError,
    read_and_score,
    read_scores,
    score_dataset,
    select_dataset,
)
from helpers import pairs
from helpers.commands import printed, run

TEXT = "text_embedding"
RULE = [("aesthetic_score", ">=", 5), ("similarity", ">=", 0.28)]
BOTH = {"aesthetic_score": "laion-v2", "ava_score": "laion-v2-ava"}


@pytest.fixture(scope="module")
def rows():
    return pairs.with_faults(*pairs.sides())


@pytest.fixture(scope="module")
def source(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    table = pairs.table(*rows)
    pq.write_table(table[:170], folder / "part-0.parquet", row_group_size=60)
    pq.write_table(table[170:], folder / "part-1.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(rows):
    frame = pairs.table(*rows).to_pandas(types_mapper=pd.ArrowDtype)
    return frame.aesthetic.score(predictor=BOTH).aesthetic.similarity()


@pytest.fixture(scope="module")
def output(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "scores"
    return folder, score_dataset(source, folder, text_column=TEXT, predictor=BOTH, keep=RULE)


def read(folder) -> pa.Table:
    files = sorted(file for file in folder.rglob("*.parquet") if file.is_file())
    return pa.concat_tables([pq.read_table(file) for file in files])


def bits(folder, name: str = "similarity") -> bytes:
    return read(folder)[name].to_numpy().tobytes()


def test_a_job_has_the_bits_of_the_frame_and_of_single_jobs(source, output, expected, tmp_path):
    folder, _ = output
    assert read(folder).schema.names == ["key", "similarity", "text_status", *BOTH, "keep", "status"]
    assert read(folder).schema.field("similarity").type == pa.float32()
    for name in ("similarity", *BOTH):
        assert bits(folder, name) == expected[name].to_numpy().tobytes()
    for name, one in BOTH.items():
        score_dataset(source, tmp_path / name, predictor=one, score_column=name, threshold=None)
        assert bits(tmp_path / name, name) == bits(folder, name)


def test_real_images_and_texts_have_the_similarity_of_float64(verite, shared, tmp_path):
    texts = np.load(shared / "data/verite_l14/text_embeddings.npy")
    pq.write_table(pairs.table(verite, texts), tmp_path / "real.parquet")
    summary = score_dataset(tmp_path / "real.parquet", tmp_path / "out", text_column=TEXT)
    found = read(tmp_path / "out")["similarity"].to_numpy()
    assert np.abs(found - pairs.exact(verite, texts)).max() < 2e-7
    assert summary.others["similarity"].count == 509
    assert summary.others["similarity"].quantile(0.5) == pytest.approx(np.median(found), abs=0.011)


def test_both_statuses_are_there_and_counted(output):
    folder, summary = output
    found = read(folder)
    for name, faults in (("status", pairs.STATUS), ("text_status", pairs.TEXT_STATUS)):
        assert found[name].to_pylist() == [faults.get(at, "ok") for at in range(300)]
    missing = {*pairs.STATUS, *pairs.TEXT_STATUS}
    assert np.flatnonzero(found["similarity"].is_null().to_numpy()).tolist() == sorted(missing)
    assert summary.text_failed == {"missing": 2, "wrong_width": 1, "not_finite": 1, "zero": 2}
    assert summary.others["similarity"].missing == len(missing)
    assert (summary.rows, summary.scored) == (300, 294)  # Without a score are the images' failures alone.
    manifest = json.loads((folder / "_SUCCESS").read_text())
    assert manifest["text_failed"] == summary.text_failed


def test_the_rule_is_the_one_of_pandas(output, expected, tmp_path):
    folder, summary = output
    keep = (expected["aesthetic_score"] >= 5) & (expected["similarity"] >= np.float32(0.28))
    assert read(folder)["keep"].to_pylist() == keep.tolist()
    assert 0 < summary.kept == keep.sum() < 300
    assert summary.rule_counts.nulls["similarity"] == 10
    select_dataset(folder, tmp_path / "less", keep=[*RULE, ("text_status", "==", "ok"), ("similarity", "<", 0.3)])
    assert read(tmp_path / "less")["keep"].to_pylist() == (keep & (expected["similarity"] < np.float32(0.3))).tolist()


def test_the_files_say_what_was_compared(output, tmp_path):
    folder, _ = output
    record = json.loads(pq.read_schema(folder / "part-0.parquet").metadata[b"dask_aesthetic"])
    assert record["similarity"] == {"column": "similarity", "status_column": "text_status", "text_column": TEXT}
    scores = read_scores(folder)
    assert scores.aesthetic.distribution().predictor == "laion-v2"
    assert scores.aesthetic.distribution("similarity").predictor == "similarity"
    page = scores.aesthetic.report(tmp_path / "page.html").read_text()
    assert '<title id="pair-2-title">Heat map of aesthetic_score and similarity</title>' in page
    assert "290 rows have both" in page
    assert "similarity &gt;= 0.28" in page


def test_one_score_without_a_rule_is_still_found_in_the_files(source, tmp_path):
    score_dataset(source, tmp_path / "out", text_column=TEXT, similarity_column="likeness")
    assert read(tmp_path / "out").schema.names[1:] == ["likeness", "text_status", "aesthetic_score", "keep", "status"]
    frame = read_scores(tmp_path / "out")
    assert frame.aesthetic.distribution().reasons["missing"] == 3


def test_the_same_call_resumes_and_changed_texts_are_compared_again(source, tmp_path):
    (tmp_path / "in").mkdir()
    table = read(source)
    plain = {"compression": "none", "use_dictionary": False}
    pq.write_table(table[:170], tmp_path / "in/part-0.parquet", **plain)
    changed = tmp_path / "in/part-1.parquet"
    pq.write_table(table[170:], changed, **plain)
    job = {"text_column": TEXT, "keep": RULE}
    score_dataset(tmp_path / "in", tmp_path / "out", **job)
    before = bits(tmp_path / "out")
    seen = []
    again = score_dataset(tmp_path / "in", tmp_path / "out", **job, progress=seen.append)
    assert (seen, again.text_failed["zero"]) == ([], 2)
    with pytest.raises(InputError, match=r"similarity\.column was 'similarity' and now is 'likeness'"):
        score_dataset(tmp_path / "in", tmp_path / "out", text_column=TEXT, similarity_column="likeness")
    assert list(again.others) == ["similarity"]
    os.utime(changed, (1, 1))
    score_dataset(tmp_path / "in", tmp_path / "out", **job, progress=seen.append)
    assert seen == []
    footer = changed.read_bytes()[-500:]
    rolled = table.set_column(2, TEXT, table[TEXT].take(np.r_[:170, np.roll(np.arange(170, 300), 1)]))
    pq.write_table(rolled[170:], changed, **plain)
    assert changed.read_bytes()[-500:] == footer  # The bytes of the texts alone differ.
    score_dataset(tmp_path / "in", tmp_path / "out", **job, progress=seen.append)
    assert [marker.shard for marker in seen] == ["part-1"]
    assert bits(tmp_path / "out") != before
    for other in ({}, {**job, "similarity_column": "likeness", "keep": None}, {**job, "text_column": "other"}):
        with pytest.raises((InputError, ColumnError)):
            score_dataset(tmp_path / "in", tmp_path / "out", **other)


def test_texts_pass_through_only_by_name(source, rows, tmp_path):
    score_dataset(source, tmp_path / "all", text_column=TEXT, columns="all")
    assert TEXT not in read(tmp_path / "all").schema.names
    score_dataset(source, tmp_path / "named", text_column=TEXT, columns=["key", TEXT], embedding_hash=True)
    found = read(tmp_path / "named")
    assert found.schema.names[:5] == ["key", TEXT, "embedding_hash", "similarity", "text_status"]
    assert found[TEXT].combine_chunks().equals(pairs.table(*rows)[TEXT].combine_chunks())
    assert bits(tmp_path / "named") == bits(tmp_path / "all")


def test_packed_texts_are_those_of_their_lists(tmp_path):
    images, texts = pairs.sides(50)
    packed = {
        name: pa.array([row.astype(np.float16).tobytes() for row in side], pa.binary())
        for name, side in (("image_embedding", images), (TEXT, texts))
    }
    halves = [side.astype(np.float16).astype(np.float32) for side in (images, texts)]
    lists = pairs.table(*halves)
    for name, table in {
        "lists": lists,
        "packed": pa.table(packed),
        "half": lists.set_column(1, "image_embedding", packed["image_embedding"]),
    }.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        dtype = None if name == "lists" else "float16"
        score_dataset(tmp_path / f"{name}.parquet", tmp_path / name, text_column=TEXT, embedding_dtype=dtype)
    assert bits(tmp_path / "packed") == bits(tmp_path / "half") == bits(tmp_path / "lists")


# Matrices


@pytest.fixture
def matrices(tmp_path):
    """The same rows as clip-retrieval's folder, as DataComp's (stored and compressed), and as Parquet."""
    images, texts = (side.astype(np.float16) for side in pairs.sides(50))
    for name in ("img_emb", "text_emb", "metadata"):
        (tmp_path / "clip" / name).mkdir(parents=True)
    np.save(tmp_path / "clip/img_emb/img_emb_0.npy", images)
    np.save(tmp_path / "clip/text_emb/text_emb_0.npy", texts)
    keys = pa.table({"key": [f"k{at}" for at in range(50)]})
    pq.write_table(keys, tmp_path / "clip/metadata/metadata_0.parquet")
    for name, save in (("datacomp", np.savez), ("compressed", np.savez_compressed)):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "0a.npz", l14_img=images, l14_txt=texts, b32_img=images, b32_txt=texts[::-1])
        pq.write_table(keys, tmp_path / name / "0a.parquet")
    (tmp_path / "lists").mkdir()
    pq.write_table(pairs.table(images, texts, "fixed_size_list", dtype="float16"), tmp_path / "lists/a.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["clip", "datacomp", "compressed"])
def test_matrices_have_the_bits_of_parquet(matrices, name):
    expected = score_dataset(matrices / "lists", matrices / "out" / "lists", text_column=TEXT)
    found = score_dataset(matrices / name, matrices / "out" / name, text_column="texts", rows_per_shard=20)
    assert found.files == (1 if name == "compressed" else 3)
    assert (found.rows, found.text_failed, found.kept) == (50, {}, expected.kept)
    assert bits(matrices / "out" / name) == bits(matrices / "out/lists")
    assert read(matrices / "out" / name).schema.names[:3] == ["key", "similarity", "text_status"]


def test_changed_texts_of_a_folder_are_compared_again(matrices):
    seen = []
    for change in (False, False, True):
        if change:
            np.save(matrices / "clip/text_emb/text_emb_0.npy", np.ones((50, 768), np.float16))
        score_dataset(matrices / "clip", matrices / "out", text_column="texts", progress=seen.append)
    assert [marker.shard for marker in seen] == ["metadata/metadata_0"] * 2
    score_dataset(matrices / "clip", matrices / "images", progress=seen.append)
    (matrices / "clip/text_emb/text_emb_0.npy").unlink()  # A job without texts does not depend on them.
    score_dataset(matrices / "clip", matrices / "images", progress=seen.append)
    assert len(seen) == 3


def test_another_matrix_of_texts_is_another_job(matrices):
    summary = score_dataset(matrices / "datacomp", matrices / "out", text_column="texts", text_key="b32_txt")
    images, texts = (side.astype(np.float16) for side in pairs.sides(50))
    assert summary.others["similarity"].mean == pytest.approx(pairs.exact(images, texts[::-1]).mean(), abs=1e-6)
    with pytest.raises(InputError, match=r"settings of the run whose output is in .* similarity"):
        score_dataset(matrices / "datacomp", matrices / "out", text_column="texts")


# Refusals


def files_of(folder, **tables):
    folder.mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def test_files_without_usable_texts_are_refused_by_name(tmp_path):
    images, texts = pairs.sides(10)
    whole = pairs.table(images, texts)
    wide = pairs.table(images, texts[:, :512])
    fixed = pairs.table(images, texts[:, :512], "list", "fixed_size_list")
    numbers = whole.set_column(2, TEXT, pa.array(range(10)))
    for name, second, message in (
        ("lacking", whole.drop_columns([TEXT]), r"embedding column 'text_embedding'.*\(in .*/b.parquet\)"),
        ("numbers", numbers, r"list of floats per row .* in column 'text_embedding', got int64.*/b.parquet\)"),
        ("fixed", fixed, r"text embeddings of 768 floats in 'text_embedding', as .*, got 512.*/b.parquet\)"),
    ):
        source = files_of(tmp_path / name, a=whole, b=second)
        with pytest.raises(ColumnError, match=message):
            score_dataset(source, tmp_path / "out", text_column=TEXT)
    with pytest.raises(ColumnError, match=r"text embeddings of 768 floats .* got 512.*/a.parquet\)"):
        score_dataset(files_of(tmp_path / "wide", a=wide), tmp_path / "out", text_column=TEXT)
    assert not (tmp_path / "out").exists()
    allowed = score_dataset(tmp_path / "wide", tmp_path / "out", text_column=TEXT, allow_unusable=True)
    assert allowed.text_failed == {"wrong_width": 10}


def test_matrices_without_texts_of_their_rows_are_refused_by_name(matrices):
    np.save(matrices / "clip/text_emb/text_emb_0.npy", np.ones((49, 768), np.float16))
    with pytest.raises(InputError, match=r"got 49 in .*text_emb_0.npy and 50 in .*img_emb_0.npy"):
        score_dataset(matrices / "clip", matrices / "out", text_column="texts")
    np.save(matrices / "clip/text_emb/text_emb_0.npy", np.ones((50, 512), np.float16))
    with pytest.raises(ColumnError, match=r"embeddings of 768 floats in 'texts', .* got 512.*img_emb_0.npy\)"):
        score_dataset(matrices / "clip", matrices / "out", text_column="texts")
    (matrices / "clip/text_emb/text_emb_0.npy").unlink()
    with pytest.raises(InputError, match=r"text embeddings beside .*img_emb_0.npy"):
        score_dataset(matrices / "clip", matrices / "out", text_column="texts")
    with pytest.raises(InputError, match=r"matrix 'g14_txt' in .*0a.npz, got l14_img"):
        score_dataset(matrices / "datacomp", matrices / "out", text_column="texts", text_key="g14_txt")
    with pytest.raises(ColumnError, match="text_column='key' to differ from the columns of the metadata"):
        score_dataset(matrices / "datacomp", matrices / "out", text_column="key")
    assert not (matrices / "out").exists()


@pytest.mark.parametrize("name", ["clip", "lists"])
def test_keys_of_archives_are_refused_where_there_are_none(matrices, name):
    texts = "texts" if name == "clip" else TEXT
    for option, flag, more in (("text_key", "--text-key", {"text_column": texts}), ("matrix_key", "--matrix-key", {})):
        message = rf"{option}='b32_txt' \({flag}\) with datacomp.*, got it with \S+: leave it out"
        with pytest.raises(ArgumentError, match=message):
            score_dataset(matrices / name, matrices / "out", **{option: "b32_txt"}, **more)
        with pytest.raises(ArgumentError, match=message):
            read_and_score(matrices / name, **{option: "b32_txt"}, **more)
    with pytest.raises(ArgumentError, match="matrix_key without embed, got 'b32_img' and embed=True"):
        score_dataset(matrices / name, matrices / "out", embed=True, matrix_key="b32_img")
    assert not (matrices / "out").exists()


def test_a_shard_without_a_usable_text_ends_the_run(tmp_path):
    images, texts = pairs.sides(10)
    source = files_of(tmp_path / "in", a=pairs.table(images, texts), b=pairs.table(images, [None] * 10))
    with pytest.raises(UnusableError, match=r"usable rows in 'text_embedding' of shard b, got none in 10 rows"):
        score_dataset(source, tmp_path / "out", text_column=TEXT)
    summary = score_dataset(source, tmp_path / "out", text_column=TEXT, allow_unusable=True)
    assert (summary.scored, summary.text_failed) == (20, {"missing": 10})


def test_an_invalid_text_raises_on_request(source, tmp_path):
    images, texts = pairs.sides(20)
    source = files_of(tmp_path / "in", a=pairs.table(images, [*texts[:17], None, *texts[18:]]))
    with pytest.raises(InvalidEmbeddingError, match=r"text_embedding.*shard a, row 17.*missing"):
        score_dataset(source, tmp_path / "out", text_column=TEXT, on_invalid="raise")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text_column": "image_embedding"}, ColumnError, "text_column='image_embedding' to differ from embedding_col"),
        ({"text_column": TEXT, "similarity_column": "keep"}, ColumnError, "similarity_column='keep' to differ from k"),
        ({"text_column": TEXT, "similarity_column": "status"}, ColumnError, "from the column of statuses"),
        ({"text_column": TEXT, "similarity_column": "text_status"}, ColumnError, "to differ from similarity_column"),
        ({"text_column": TEXT, "similarity_column": TEXT}, ColumnError, "to differ from text_column"),
        (
            {"text_column": TEXT, "columns": ["key", "similarity"]},
            ColumnError,
            "to pass through, the file has key, image",
        ),
        ({"text_column": TEXT, "embed": True}, ArgumentError, "that are there, got 'text_embedding' and embed=True"),
        ({"text_column": ["a"]}, ArgumentError, "text_column to be the name of one column"),
        ({"similarity_column": "likeness"}, ArgumentError, r"text_column \(--text-column\) with text_key and similari"),
        ({"keep": RULE}, ColumnError, "similarity"),
        (
            {"text_column": TEXT, "keep": [("similarity", ">=", 28)]},
            ThresholdError,
            r"to 1 .* got 28 \(in keep",
        ),
        ({"text_column": TEXT, "keep": RULE, "similarity_column": ["a"]}, ArgumentError, "name of one column, got"),
    ],
)
def test_calls_that_make_no_sense_are_refused(source, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        score_dataset(source, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


# The command


def test_the_command_compares_and_keeps_the_same_rows(source, output, tmp_path):
    chosen = [f"--predictor={name}={one}" for name, one in BOTH.items()]
    chosen += ["--text-column", TEXT, "--keep-if", "aesthetic_score>=5", "--keep-if", "similarity>=0.28"]
    text = printed("score", source, tmp_path / "out", *chosen)
    assert "texts  294 usable, 2 missing, 1 wrong_width, 1 not_finite, 2 zero" in text
    assert "     similarity  1% " in text
    assert "rows: similarity >= 0.28" in text
    assert read(tmp_path / "out").equals(read(output[0]))
    done = json.loads(printed("score", source, tmp_path / "out", *chosen, "--json"))
    assert done["text_failed"] == output[1].text_failed
    assert list(done["more_quantiles"]) == ["ava_score", "similarity"]
    ended = run("score", source, tmp_path / "other", "--text-column", "nothing")
    assert ended.status == 2
    assert "expected an embedding column 'nothing'" in ended.err
