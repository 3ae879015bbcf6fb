"""Embeddings of a tower of timm with attention pooling, as SigLIP's, which aesthetic-predictor-v2-5 takes."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

import timm
from PIL import Image

import dask_aesthetic  # noqa: F401
from helpers import image_files

MODEL, TOWER = "tiny-map-pooled", "test_vit"
VISION = {"image_size": 160, "timm_model_name": TOWER, "timm_pool": "map", "timm_proj": "none"}


@pytest.mark.skipif(TOWER not in timm.list_models(TOWER), reason="needs a timm that has a small tower for tests")
def test_embeddings_are_those_of_open_clip(tmp_path):
    config = image_files.CONFIG | {"embed_dim": 64, "custom_text": True, "vision_cfg": VISION, "quick_gelu": False}
    (tmp_path / f"{MODEL}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model, _, preprocess = open_clip.create_model_and_transforms(MODEL)
    torch.save(model.state_dict(), tmp_path / "small.pt")
    images = image_files.images(3)
    embedded = pd.DataFrame({"image": images}).aesthetic.embed(model=MODEL, pretrained=tmp_path / "small.pt")
    with torch.inference_mode():
        pixels = torch.stack([preprocess(Image.open(BytesIO(image))) for image in images])
        expected = model.eval().encode_image(pixels, normalize=True).numpy()
    assert np.abs(np.array(embedded["image_embedding"].tolist()) - expected).max() < 1e-5
