"""Jobs over images that are stopped or die while images are decoded: nothing hangs, and what comes out is the same."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from distributed import Client, LocalCluster, WorkerPlugin

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import JobError, score_dataset
from dask_aesthetic.cluster import closed_in_time
from dask_aesthetic.images.decoder import Decoder
from helpers import chaos, image_files
from helpers.tar_files import member, write

TARS, PER_TAR, CUT = 6, 8, 3.3
POISON = image_files.image(3 * PER_TAR + 5)  # Of the fourth tar.


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return image_files.small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tars(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for tar in range(TARS):
        images = range(tar * PER_TAR, (tar + 1) * PER_TAR)
        write(folder / f"{tar:05d}.tar", *(member(f"{at:05d}.jpg", image_files.image(at)) for at in images))
    return folder


@pytest.fixture(scope="module")
def score(weights):
    """Scores as a worker of one thread does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield lambda source, output, **executor: score_dataset(
        source, output, embed=True, **image_files.scoring(weights), threshold=CUT, **executor
    )
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def calm(tars, score, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("calm")
    assert score(tars, output, threads=1).rows == TARS * PER_TAR
    return chaos.content(output)


def run_slowly(models: Path, decoding: Path, arguments: list[str], out: Path, err: Path) -> None:
    """Run the command with a decoder that takes its time; target of a process."""
    open_clip.add_model_config(models)
    torch.set_num_threads(1)
    call = Decoder.__call__

    def slowly(self: Decoder, *given):
        decoding.touch()
        time.sleep(0.1)
        return call(self, *given)

    Decoder.__call__ = slowly
    chaos.run_command(arguments, out, err)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_images_are_decoded_stops_in_order(tars, score, calm, weights, tmp_path, number, status):
    output, decoding = tmp_path / "out", tmp_path / "decoding"
    asked = [part for name, value in image_files.scoring(weights).items() for part in (f"--{name}", str(value))]
    arguments = ["score", str(tars), str(output), "--embed", "--threads", "1", "--threshold", str(CUT), *asked]
    process = chaos.fork_server().Process(
        target=run_slowly, args=(weights.parent, decoding, arguments, tmp_path / "stdout", tmp_path / "stderr")
    )
    process.start()
    while process.is_alive() and not chaos.committed(output):
        time.sleep(0.01)
    decoding.unlink()
    while process.is_alive() and not decoding.exists():  # Of the next shard.
        time.sleep(0.01)
    begin = time.monotonic()
    os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
    process.join(60)
    err = (tmp_path / "stderr").read_text()
    assert process.exitcode == status, err
    assert time.monotonic() - begin < 30
    assert "The same call resumes there" in err
    assert "Traceback" not in err
    done = chaos.committed(output)
    assert 0 < len(done) < TARS
    summary = score(tars, output, threads=1)
    assert {shard: chaos.committed(output)[shard] for shard in done} == done
    chaos.check(output, calm, TARS * PER_TAR, summary)


class Dying(WorkerPlugin):
    """Workers that know the small model, and whose decoder ends the process over one image, as often as a file says."""

    def __init__(self, models: Path, left: Path) -> None:
        self.models, self.left = models, left

    def setup(self, worker) -> None:  # noqa: ARG002 (Dask calls it so)
        open_clip.add_model_config(self.models)
        call = Decoder.__call__

        def die(decoder: Decoder, images, *given):
            left = int(self.left.read_text())
            if left and POISON in list(map(bytes, images)):
                self.left.write_text(str(left - 1))
                os.kill(os.getpid(), signal.SIGKILL)  # As the kernel does where memory runs out.
            return call(decoder, images, *given)

        Decoder.__call__ = die


def test_a_decoder_that_ends_its_process_costs_a_second_try_or_its_shard(tars, score, calm, weights, tmp_path):
    left = tmp_path / "left"
    left.write_text("1")
    with (
        closed_in_time(
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
        ) as workers,
        Client(workers, set_as_default=False) as client,
    ):
        client.register_plugin(Dying(weights.parent, left))
        summary = score(tars, tmp_path / "once", client=client)
        assert left.read_text() == "0"
        chaos.check(tmp_path / "once", calm, TARS * PER_TAR, summary)
        left.write_text("99")
        with pytest.raises(JobError, match=rf"of {TARS} shards failed: .*00003: "):
            score(tars, tmp_path / "always", client=client)
        assert int(left.read_text()) < 98  # It was tried again.
        assert "00003" not in chaos.committed(tmp_path / "always")
        left.write_text("0")
        summary = score(tars, tmp_path / "always", client=client)
        chaos.check(tmp_path / "always", calm, TARS * PER_TAR, summary)
