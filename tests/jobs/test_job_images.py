"""Durable jobs over images: tars and Parquet files in, scores and statuses of every row out."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from threading import Barrier, get_ident

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from helpers import chaos, commands

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import (
    ArgumentError,
    ColumnError,
    InputError,
    MissingDependencyError,
    PredictorInfo,
    UnusableError,
    read_webdataset,
    score_dataset,
)
from dask_aesthetic.errors import EncoderError, InvalidImageError, JobStoppedError
from dask_aesthetic.images import encoder
from dask_aesthetic.io import image_shards
from dask_aesthetic.jobs import Pool, plan_dataset, run
from dask_aesthetic.predictors import AffinePredictor
from dask_aesthetic.predictors.checkpoint import read_tensors
from helpers import (
    image_files,
    tar_files,
)
from helpers.tar_files import member, write

PER_TAR = 8
CUT = 3.3  # About half of the small model's scores are below.
BAD = {"00002": b"", "00009": b"<html>", "00013": image_files.truncate(image_files.image(13), 50)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return image_files.small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def options(weights) -> dict:
    """Arguments that score images with the small model."""
    return {**image_files.scoring(weights), "threshold": CUT}


@pytest.fixture
def score(options):
    return partial(score_dataset, embed=True, **options)


@pytest.fixture
def tars(tmp_path) -> Path:
    """Three tars; the second is a gzip, and has a Parquet file with a failed download, in another order."""
    for at in range(3):
        keys = [f"{key:05d}" for key in range(PER_TAR * at, PER_TAR * (at + 1))]
        members = []
        for key in keys:
            members += [
                member(f"{key}.jpg", BAD.get(key, image_files.image(int(key)))),
                member(f"{key}.txt", b"a text"),
            ]
        write(tmp_path / f"in/{at:05d}.tar", *members, packed=at == 1)
    table = {"key": [*reversed(keys[:3]), "99999"], "url": [f"https://{at}" for at in range(4)], "status": ["x"] * 4}
    pq.write_table(pa.table(table), tmp_path / "in/00002.parquet")
    return tmp_path / "in"


ROWS = 3 * PER_TAR + 1


def by_frame(images: pa.Array, options: dict, **more) -> pd.DataFrame:
    frame = pd.DataFrame({"image": pd.Series(pd.arrays.ArrowExtensionArray(images))})
    return frame.aesthetic.embed_and_score(**options, **more)


def write_parquet(path: Path, images: pa.Array, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"key": [f"{path.stem}-{at}" for at in range(len(images))], "image": images})
    pq.write_table(table, path, **options)
    return path


def failures(output: Path) -> dict[tuple[str, int], tuple[str, str]]:
    """Key and reason of each failed row, by shard and row."""
    listed = pq.read_table(output / "_failed.parquet").to_pylist()
    return {(row["shard"], row["row"]): (row["key"], row["status"]) for row in listed}


# What is written


def test_scores_of_tars_are_those_of_a_frame(tars, score, options, tmp_path):
    summary = score(tars, tmp_path / "out", columns=["url", "txt", "image_embedding"])
    # A partition per tar: the same batches, so the same bits.
    expected = read_webdataset(tars).aesthetic.embed_and_score(**options, keep_embedding=True).compute()
    expected = expected.reset_index(drop=True)
    got = pq.read_table(tmp_path / "out")
    names = ["shard", "key", "url", "txt", "image_embedding", "aesthetic_score", "keep", "status"]
    assert got.column_names == names
    for name in ("shard", "key", "url", "txt", "image_embedding"):
        assert got[name].to_pylist() == pa.array(expected[name].array).to_pylist()
    scores = got["aesthetic_score"].to_numpy()
    assert scores.tobytes() == expected["aesthetic_score"].to_numpy().tobytes()
    assert got["keep"].to_pylist() == (scores >= np.float32(CUT)).tolist() == expected["keep"].tolist()
    assert 0 < sum(got["keep"].to_pylist()) < summary.scored
    status = expected["image_status"].astype(str).where(expected["key"] != "99999", "not_in_tar")
    assert got["status"].to_pylist() == status.tolist()
    assert (summary.rows, summary.scored, summary.failed) == (ROWS, ROWS - 4, {"not_in_tar": 1, "undecodable": 3})
    assert failures(tmp_path / "out") == {
        ("00000", 2): ("00002", "undecodable"),
        ("00001", 1): ("00009", "undecodable"),
        ("00001", 5): ("00013", "undecodable"),
        ("00002", 8): ("99999", "not_in_tar"),
    }


def test_several_predictors_score_each_image(tars, score, options, tmp_path):
    other = AffinePredictor(np.ones(image_files.WIDTH), 2.0, PredictorInfo(name="ones", width=image_files.WIDTH))
    score(tars, tmp_path / "one")
    score(tars, tmp_path / "ones", predictor=other)
    summary = score(tars, tmp_path / "out", predictor={"score": options["predictor"], "ones": other})
    got = pq.read_table(tmp_path / "out")
    assert got.column_names[-4:] == ["score", "ones", "keep", "status"]
    for name, alone in (("score", "one"), ("ones", "ones")):
        assert got[name].equals(pq.read_table(tmp_path / alone)["aesthetic_score"])
    assert (summary.scored, summary.others["ones"].count) == (ROWS - 4, ROWS - 4)


@pytest.mark.parametrize("kind", ["bytes", "struct", "path", "list"])
def test_scores_of_parquet_files_are_those_of_a_frame(score, options, tmp_path, kind):
    rows: list = [*image_files.images(11), None, b"<html>"]
    if kind == "path":
        for at, data in enumerate(rows[:11]):
            (tmp_path / f"{at}.jpg").write_bytes(data)
        rows = [*(str(tmp_path / f"{at}.jpg") for at in range(11)), None, str(tmp_path / "nowhere.jpg")]
        images = pa.array(rows)
    elif kind == "struct":
        images = pa.array([row and {"bytes": row, "path": None} for row in rows])
    else:
        images = pa.array([row and [row, rows[0]] for row in rows] if kind == "list" else rows)
    several = {"pooling": "mean"} if kind == "list" else {}
    write_parquet(tmp_path / "in/a.parquet", images, row_group_size=4)
    summary = score(tmp_path / "in", tmp_path / "out", rows_per_shard=5, **several)
    expected = by_frame(images, options, **several)
    got = pq.read_table(tmp_path / "out").sort_by([("key", "ascending")]).to_pandas()
    got = got.set_index("key").loc[[f"a-{at}" for at in range(13)]]
    assert len(list((tmp_path / "out").glob("*.parquet"))) == summary.files + 1 == 4
    assert np.nanmax(np.abs(got["aesthetic_score"].to_numpy() - expected["aesthetic_score"].to_numpy())) < 1e-5
    assert got["status"].tolist() == expected["image_status"].tolist()
    assert got["status"].tolist()[11:] == ["missing", "unreadable" if kind == "path" else "undecodable"]


def test_every_invalid_image_has_a_status_and_its_neighbors_keep_their_scores(score, options, tmp_path):
    invalid = image_files.invalid_images()
    members, due = [], {}
    for at, (data, status) in enumerate(invalid.values()):
        members += [member(f"invalid{at:03d}.jpg", data), member(f"good{at:03d}.jpg", image_files.image(at))]
        due[f"invalid{at:03d}"] = status
    write(tmp_path / "in/0.tar", *members)
    summary = score(tmp_path / "in", tmp_path / "out")
    assert dict(failures(tmp_path / "out").values()) == due
    assert (summary.rows, summary.scored) == (2 * len(invalid), len(invalid))
    good = by_frame(pa.array(image_files.images(len(invalid))), options)["aesthetic_score"]
    got = pq.read_table(tmp_path / "out").to_pandas().set_index("key")["aesthetic_score"]
    assert np.abs(got[[f"good{at:03d}" for at in range(len(invalid))]].to_numpy() - good.to_numpy()).max() < 1e-5


def test_members_outside_of_samples_have_rows_with_their_status(score, tmp_path):
    hostile = tar_files.hostile(tmp_path / "trap")
    invalid = [
        (member("twice.jpg", image_files.image(1)), None),
        (member("twice.jpg", image_files.image(2)), "duplicate_member"),
        (member("text.txt", b"alone"), "no_image"),
        (member("both.jpg", image_files.image(3)), None),
        (member("both.png", image_files.image(3, "PNG")), "several_images"),
    ]
    good = [member("good.jpg", image_files.image(4)), member("good.txt", b"\xff"), member("good.txt", b"again")]
    write(tmp_path / "in/0.tar", *(one for one, _ in hostile), *(one for one, _ in invalid), *good)
    score(tmp_path / "in", tmp_path / "out", columns=["sample_status"])
    rows = pq.read_table(tmp_path / "out").to_pylist()
    due = [status for _, status in [*hostile, *invalid] if status is not None]
    assert [row["status"] for row in rows] == [*due, "ok"]
    assert [row["key"] for row in rows[-4:]] == ["twice", "text", "both", "good"]
    assert rows[-1]["sample_status"] == "duplicate_member"
    assert all((row["aesthetic_score"] is None) == (row["status"] != "ok") for row in rows)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_tar_is_scored_up_to_there_and_stops_no_other(tars, score, tmp_path, packed):
    score(tars, tmp_path / "calm")
    victim = tars / f"0000{int(packed)}.tar"
    victim.write_bytes(image_files.truncate(victim.read_bytes(), 55))
    summary = score(tars, tmp_path / "out")
    assert summary.failed["damaged"] == 2
    whole, truncated = (pq.read_table(tmp_path / folder / f"{victim.stem}.parquet") for folder in ("calm", "out"))
    before = truncated.num_rows - 2
    assert 0 < before < PER_TAR - 1
    assert truncated["key"].to_pylist() == [*whole["key"].to_pylist()[: before + 1], None]
    assert truncated["status"].to_pylist()[before:] == ["damaged", "damaged"]
    difference = truncated["aesthetic_score"].to_numpy()[:before] - whole["aesthetic_score"].to_numpy()[:before]
    assert np.nanmax(np.abs(difference)) < 1e-5
    other = f"0000{1 - int(packed)}.parquet"
    assert (tmp_path / "out" / other).read_bytes() == (tmp_path / "calm" / other).read_bytes()
    assert summary.rows == summary.scored + sum(summary.failed.values())


def test_the_output_names_encoder_and_predictor(tars, score, weights, tmp_path):
    score(tars, tmp_path / "out", precision="float32")
    result = json.loads(pq.read_schema(tmp_path / "out/00000.parquet").metadata[b"dask_aesthetic"])["encoder"]
    assert (result["model"], result["precision"], result["pooling"]) == (image_files.MODEL, "float32", None)
    assert result["pretrained"] == f"sha256 {encoder.sha256_of(weights)}"
    manifest = json.loads((tmp_path / "out/_SUCCESS").read_text())
    assert result.items() <= manifest["settings"].items()
    assert manifest["rows"] == ROWS


def test_the_output_names_the_precision_that_auto_became(tars, score, tmp_path):
    for precision, expected in (
        (None, {"precision": "float32"}),
        ("float16", {"precision": "float16", "device": "cpu"}),
    ):
        out = tmp_path / str(precision)
        score(tars, out, precision=precision)
        result = json.loads(pq.read_schema(out / "00000.parquet").metadata[b"dask_aesthetic"])["encoder"]
        settings = json.loads((out / "_dask_aesthetic/settings.json").read_text())
        for names in (result, settings):
            assert {name: names[name] for name in ("precision", "device") if name in names} == expected
    assert score(tars, tmp_path / "None", precision="float32").rows == ROWS


def test_zero_rows_are_an_output_of_zero_rows(score, tmp_path):
    write(tmp_path / "tars/0.tar")
    write_parquet(tmp_path / "files/a.parquet", pa.array([], pa.binary()))
    for source in ("tars", "files"):
        assert score(tmp_path / source, tmp_path / "out" / source).rows == 0
        assert pq.read_table(tmp_path / "out" / source)["aesthetic_score"].type == pa.float32()


# Memory, threads and clusters


def test_images_are_read_as_they_are_decoded(score, options, tmp_path, monkeypatch):
    write(tmp_path / "in/0.tar", *(member(f"{at:03d}.jpg", image_files.image(at % 5)) for at in range(150)))
    read, encoded = [], []
    read_image, encode = image_shards.read_image, encoder.Encoder.encode
    monkeypatch.setattr(image_shards, "read_image", lambda *where: read.append(1) or read_image(*where))
    monkeypatch.setattr(
        encoder.Encoder, "encode", lambda self, *batch: encoded.append(len(read)) or encode(self, *batch)
    )
    score(tmp_path / "in", tmp_path / "out", batch_size=4)
    assert len(read) == 150
    assert encoded[0] <= image_shards.BATCH_ROWS
    assert len(encoded) == 38


def test_a_stop_is_seen_between_batches_and_leaves_nothing_behind(options, tmp_path):
    write(tmp_path / "in/0.tar", *(member(f"{at:03d}.jpg", image_files.image(at % 5)) for at in range(150)))
    plan = plan_dataset(tmp_path / "in", tmp_path / "out", embed=True, **options)
    looks = iter([False, False])
    with pytest.raises(JobStoppedError):
        plan.work(plan.shards[0], lambda: next(looks, True))
    assert next(looks, None) is None
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_workers_of_a_cluster_write_the_same(tars, score, weights, tmp_path, cluster):
    score(tars, tmp_path / "here")
    cluster.run(open_clip.add_model_config, weights.parent)
    before = cluster.run(encoder.loads)
    summary = score(tars, tmp_path / "there", client=cluster)
    assert summary.rows == ROWS
    here, there = (pq.read_table(tmp_path / folder) for folder in ("here", "there"))
    assert there.drop_columns("aesthetic_score").equals(here.drop_columns("aesthetic_score"))
    scores = here["aesthetic_score"].to_numpy() - there["aesthetic_score"].to_numpy()
    assert np.nanmax(np.abs(scores)) < 1e-5
    for worker, loads in cluster.run(encoder.loads).items():
        assert sum(loads.values()) - sum(before[worker].values()) <= 1


def test_two_shards_at_work_share_one_model_and_write_the_same(tars, score, tmp_path, monkeypatch):
    score(tars, tmp_path / "one", threads=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(encoder, "own_gpu", lambda: torch.device("cpu"))
    monkeypatch.setattr(encoder, "_encoders", {})
    monkeypatch.setattr(encoder, "_loads", {})
    threads, together = set(), Barrier(2, timeout=60)
    encode = encoder.Encoder.encode

    def both(self: encoder.Encoder, *batch):
        if get_ident() not in threads:
            threads.add(get_ident())
            together.wait()  # One thread alone would not pass.
        return encode(self, *batch)

    monkeypatch.setattr(encoder.Encoder, "encode", both)
    score(tars, tmp_path / "two", precision="float32")
    assert len(threads) == 2
    assert sum(encoder.loads().values()) == 1
    one, two = (pq.read_table(tmp_path / folder) for folder in ("one", "two"))
    assert two.equals(one)


# Killed, resumed, and done again


def score_with(weights: Path, source: Path, output: Path, **executor):
    """In a process that does not know the small model yet, and has its own number of threads, on which bits depend."""
    open_clip.add_model_config(weights.parent)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return score_dataset(source, output, embed=True, **image_files.scoring(weights), threshold=CUT, **executor)
    finally:
        torch.set_num_threads(before)


def test_a_driver_killed_at_a_commit_resumes(tars, weights, tmp_path):
    (tars / "00000.tar").unlink()
    calm, score = tmp_path / "calm", partial(score_with, weights)
    assert score(tars, calm, threads=1).rows == 2 * PER_TAR + 1
    # ScoreSettings, two shards with failures, output and marker each, and the manifest; of these every third.
    assert len(chaos.content(calm)) == 8
    killed = chaos.killed_at_every_commit(tars, calm, tmp_path / "killed", every=3, score=score)
    assert killed == 6


def test_what_has_changed_is_scored_again_and_nothing_else(tars, score, tmp_path):
    score(tars, tmp_path / "out")
    before = chaos.committed(tmp_path / "out")
    assert chaos.committed(tmp_path / "out") == before
    write(tars / "00001.tar", member("00000.jpg", image_files.image(99)))
    (tars / "00000.tar").touch()
    score(tars, tmp_path / "out")
    after = chaos.committed(tmp_path / "out")
    assert [shard for shard in after if after[shard] != before[shard]] == ["00001"]
    assert score(tars, tmp_path / "out", verify=True).rows == ROWS - PER_TAR + 1
    assert chaos.committed(tmp_path / "out") == after


def test_other_settings_are_refused_unless_they_overwrite(tars, score, weights, tmp_path):
    score(tars, tmp_path / "out")
    calm = chaos.content(tmp_path / "out")
    other = tmp_path / "other.pt"
    torch.save({key: tensor * 2 for key, tensor in read_tensors(weights)[0].items()}, other)
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    for changed, result in (
        ({"pretrained": other}, "pretrained was 'sha256 [0-9a-f]{64}' and now is 'sha256 [0-9a-f]{64}'"),
        ({"precision": "bfloat16"}, "precision was 'float32' and now is 'bfloat16'; device was None and now is 'cpu'"),
        ({"pooling": "mean"}, "pooling was None and now is 'mean'"),
        ({"exif_orientation": True}, "exif_orientation was False and now is True"),
        ({"threshold": 6}, r"threshold was 3\.3 and now is 6\.0"),
    ):
        with pytest.raises(InputError, match=result):
            score(tars, tmp_path / "out", **changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "pillow_rule", lambda: "99.0")
        with pytest.raises(InputError, match=r"pillow was '(before|from) 13' and now is '99\.0'"):
            score(tars, tmp_path / "out")
    assert score(tars, tmp_path / "out", pretrained=copy).rows == ROWS
    assert chaos.content(tmp_path / "out") == calm
    assert score(tars, tmp_path / "out", exif_orientation=True, overwrite=True).rows == ROWS


# Kinds of devices


def pretend(gpus: int, dask_worker=None) -> None:
    """In a worker of two: that so many of them have a GPU."""
    has = int(dask_worker.name) < gpus
    torch.cuda.is_available = lambda: has


@pytest.fixture
def claims(cluster, weights):
    """Cluster of two workers, and a function that lets some of them say that they have a GPU."""
    cluster.run(open_clip.add_model_config, weights.parent)
    yield cluster, partial(cluster.run, pretend)
    cluster.run(pretend, 0)


def test_a_cluster_is_planned_for_the_devices_of_its_workers(tars, options, tmp_path, claims):
    cluster, claim = claims
    plan = partial(plan_dataset, tars, tmp_path / "out", embed=True, client=cluster, **options)
    assert plan().settings.as_config()["precision"] == "float32"
    claim(2)
    config = plan().settings.as_config()
    assert (config["precision"], config["device"]) == ("bfloat16", "cuda")
    assert "device" not in plan(precision="float32").settings.as_config()
    claim(1)
    for precision in ("auto", "float16"):
        with pytest.raises(EncoderError, match=rf"'{precision}', got 1 with and 1 without.*precision='float32'"):
            plan(precision=precision)
    assert plan(precision="float32").settings.as_config()["precision"] == "float32"
    assert not (tmp_path / "out").exists()


def test_the_command_plans_for_the_workers_of_its_scheduler(tars, weights, tmp_path, claims):
    cluster, claim = claims
    asked = (part for name, value in image_files.scoring(weights).items() for part in (f"--{name}", value))
    arguments = [
        *("score", tars, tmp_path / "out", "--embed", "--threshold", CUT, *asked),
        *("--scheduler", cluster.scheduler_info()["address"], "--json", "--quiet"),
    ]
    settings = json.loads(commands.printed(*arguments))["settings"]
    assert settings["precision"] == "float32"
    claim(2)
    for more in ((), ("--dry-run",)):
        assert "precision was 'float32' and now is 'bfloat16'" in command(*arguments, *more, code=2)
    assert '"to_run": 0' in command(*arguments, "--dry-run", "--precision", "float32")


def test_a_worker_that_would_compute_otherwise_ends_the_run(tars, options, tmp_path, claims):
    cluster, claim = claims
    claim(2)
    plan = plan_dataset(tars, tmp_path / "out", embed=True, client=cluster, **options)
    claim(0)
    message = r"bfloat16 embeddings by a GPU \(CUDA\), as planned, got a process with a CPU alone"
    with Pool(cluster) as pool, pytest.raises(EncoderError, match=message):
        run(plan, pool)
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_resumed_job_never_mixes_precisions(tars, score, tmp_path, monkeypatch):
    whole, half = tmp_path / "whole", tmp_path / "half"
    score(tars, whole)
    score(tars, half, precision="bfloat16")
    before = chaos.content(half)
    with pytest.raises(InputError, match="precision was 'bfloat16' and now is 'float32'; device was 'cpu' and now is"):
        score(tars, half)
    assert score(tars, half, precision="bfloat16").rows == ROWS
    settings = whole / "_dask_aesthetic/settings.json"
    recorded = settings.read_text()
    settings.write_text(recorded.replace('"precision": "float32"', '"precision": "auto"'))
    with pytest.raises(InputError, match="precision was 'auto' and now is 'float32'"):
        score(tars, whole)
    settings.write_text(recorded)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r"precision was 'float32' and now is 'bfloat16'; .*Give the earlier ones"):
        score(tars, whole)
    with pytest.raises(InputError, match="got others: device was 'cpu' and now is 'cuda'"):
        score(tars, half, precision="bfloat16")
    assert score(tars, whole, precision="float32").rows == ROWS  # All is done, on whichever device.
    assert chaos.content(half) == before


# What is refused


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"model": "tiny-clap"}, EncoderError, "a model of open_clip, got 'tiny-clap': did you mean 'tiny-clip'"),
        ({"predictor": "laion-v2"}, EncoderError, r"768 floats.*'laion-v2' takes, got tiny-clip \("),
        ({"pretrained": "nowhere.pt"}, EncoderError, "a checkpoint at nowhere.pt"),
        (
            {"image_column": "photo"},
            ColumnError,
            "image_column='photo' to be a column; the file has 'key', 'number', 'image'.*: 'key', 'image' \\(in",
        ),
        ({"image_column": "number"}, ColumnError, "expected an image per row in column 'number'"),
        ({"columns": ["image"]}, ColumnError, "expected column 'image' to pass through, the file has key, number"),
        ({"score_column": "image"}, ColumnError, "score_column='image' to differ from the image column"),
        ({"format": "npy"}, ArgumentError, "format to be one of 'auto', 'parquet', 'webdataset', 'images', got 'npy'"),
        ({"pooling": "min"}, ArgumentError, "pooling to be one of"),
        ({"batch_size": 0}, ArgumentError, "batch_size to be a whole number of images"),
        ({"rows_per_shard": 0}, ArgumentError, "rows_per_shard to be a whole number"),
        ({"embed": False}, ArgumentError, r"expected embed=True \(--embed\) with model='tiny-clip', pretrained="),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(options, tmp_path, changed, error, message):
    images = pa.array(image_files.images(2))
    table = pa.table({"key": ["a", "b"], "number": [1, 2], "image": images})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in/a.parquet")
    with pytest.raises(error, match=message):
        score_dataset(tmp_path / "in", tmp_path / "out", **{"embed": True, **options, **changed})
    assert not (tmp_path / "out").exists()


def test_lists_of_images_need_pooling(score, tmp_path):
    write_parquet(tmp_path / "in/a.parquet", pa.array([[image_files.image(1)]]))
    with pytest.raises(ArgumentError, match="pooling='first', 'mean' or 'max'"):
        score(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", ["open_clip", "PIL"])
def test_a_missing_package_is_named_with_what_installs_it(tars, score, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dask-aesthetic\[embed\]'"):
        score(tars, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_to_embed_is_refused(score, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected tars \(.tar, .tar.gz, .tgz\), .parquet files or image files"):
        score(tmp_path / "in", tmp_path / "out")


def test_a_row_without_an_image_ends_the_run_under_on_invalid_raise(tars, score, tmp_path):
    for name in ("00000.tar", "00002.tar", "00002.parquet"):
        (tars / name).unlink()
    with pytest.raises(InvalidImageError, match="'image'; shard 00001, row 1 is undecodable") as caught:
        score(tars, tmp_path / "out", on_invalid="raise")
    assert (caught.value.partition, caught.value.row, caught.value.reason) == ("shard 00001", 1, "undecodable")


def test_a_shard_without_images_ends_the_run_unless_allowed_and_one_of_failed_downloads_does_not(
    score, options, tmp_path
):
    write_parquet(tmp_path / "in/a.parquet", pa.array(["https://", "nowhere"]))
    with pytest.raises(UnusableError, match=r"usable rows in 'image' of shard a, got none in 2 rows \(2 unreadable\)"):
        score(tmp_path / "in", tmp_path / "out")
    assert score(tmp_path / "in", tmp_path / "out", allow_unusable=True).failed == {"unreadable": 2}
    write(tmp_path / "tars/0.tar")
    pq.write_table(pa.table({"key": ["a", "b"]}), tmp_path / "tars/0.parquet")
    assert score(tmp_path / "tars", tmp_path / "out2").failed == {"not_in_tar": 2}


# The command


def command(*arguments: object, code: int = 0) -> str:
    ended = commands.run(*arguments)
    assert ended.status == code, ended
    return ended.out + ended.err


def test_the_command_scores_and_filter_takes_what_it_writes(tars, weights, tmp_path):
    asked = image_files.scoring(weights)
    result = json.loads(
        command(
            *("score", tars, tmp_path / "scored", "--embed", "--threshold", CUT, "--json", "--quiet"),
            *(part for name, value in asked.items() for part in (f"--{name}", value)),
        )
    )
    assert (result["rows"], result["failed"]) == (ROWS, {"not_in_tar": 1, "undecodable": 3})
    assert result["settings"]["rows_per_shard"] == 10_000
    command("filter", tmp_path / "scored", tmp_path / "kept", "--tars", tars, "--quiet")
    rows = pq.read_table(tmp_path / "scored").to_pandas()
    keys = set(rows.loc[rows["keep"], "key"])
    kept = {name: data for path in (tmp_path / "kept").glob("*.tar") for name, data in tar_files.content(path).items()}
    whole = {name: data for path in tars.glob("*.tar") for name, data in tar_files.content(path).items()}
    assert kept == {name: data for name, data in whole.items() if name.partition(".")[0] in keys}
    assert len(kept) == 2 * result["kept"] > 0
    assert "expected embed=True (--embed) with model='x'" in command("score", tars, tmp_path, "--model", "x", code=2)
