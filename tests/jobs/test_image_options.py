"""Options of jobs over images, and what the closing table says of the encoder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from helpers import commands, image_files, tar_files

pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from dask_aesthetic import score_dataset


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return image_files.small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def tars(tmp_path) -> Path:
    members = [tar_files.member(f"{at}.pic", image_files.image(at)) for at in range(3)]
    tar_files.write(tmp_path / "tars/0.tar", *members)
    return tmp_path / "tars"


def test_extensions_of_images_are_those_of_the_reader(tars, tmp_path, weights):
    options = {**image_files.scoring(weights), "threshold": 3.3, "embed": True}
    assert score_dataset(tars, tmp_path / "none", **options).failed == {"no_image": 3}
    for extensions in (["pic"], ".PIC", ["jpg", "pic"]):
        summary = score_dataset(tars, tmp_path / f"{len(extensions)}", image_extensions=extensions, **options)
        assert (summary.scored, summary.failed) == (3, {})


def test_the_command_takes_extensions_and_names_the_checkpoint(tars, tmp_path, weights):
    options = image_files.scoring(weights)
    asked = ["--predictor", options["predictor"], "--threshold", "3.3", "--model", options["model"]]
    asked += ["--pretrained", options["pretrained"], "--image-extensions", "png,pic"]
    printed = commands.printed("score", tars, tmp_path / "out", "--embed", *asked)
    line = next(line for line in printed.splitlines() if line.split()[0] == "encoder")
    assert f"{options['model']} with {weights}, sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}" in line
    assert "scored  3" in printed
    assert "openai" not in printed
