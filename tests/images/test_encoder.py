"""Encoder specifications: names, refusals, and weights from files and from a hub on 127.0.0.1."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'dask-aesthetic[embed]'")

from PIL import Image

from dask_aesthetic.errors import EncoderError, MissingDependencyError
from dask_aesthetic.images import EncoderSpec
from dask_aesthetic.images import encoder as encoders
from dask_aesthetic.images.weights import fetch_weights
from dask_aesthetic.predictors import list_predictors
from dask_aesthetic.predictors.checkpoint import read_tensors
from helpers import image_files
from helpers.hub_server import REVISION, Answer, serving

LARGE = "ViT-L-14-quickgelu"
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return image_files.small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"image": image_files.images(5)})


def embed(frame, pretrained, **arguments) -> np.ndarray:
    out = frame.aesthetic.embed(model=image_files.MODEL, pretrained=pretrained, **arguments)
    assert out["image_status"].tolist() == ["ok"] * len(frame)
    return np.array(out["image_embedding"].tolist(), np.float32)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-L-14", "openai", "expected model='ViT-L-14-quickgelu' for the weights 'openai'"),
        ("ViT-B-32", "laion400m_e32", "expected model='ViT-B-32-quickgelu'"),
        ("ViT-L/14", "openai", "a model of open_clip, got 'ViT-L/14': did you mean .*'ViT-L-14"),
        ("hf-hub:someone/model", "openai", "a model of open_clip, got 'hf-hub:someone/model'"),
        ("local-dir:/tmp", "openai", "a model of open_clip, got 'local-dir:/tmp'"),
        (LARGE, "opena1", r"a tag of open_clip \('openai', .*got 'opena1'"),
        (LARGE, "", "expected weights for 'ViT-L-14-quickgelu'.*got ''"),
        (LARGE, None, "expected weights for"),
        (LARGE, "someone/model", "someone/model@<40 hex digits>, got none"),
        (LARGE, "someone/model@main", "someone/model@<40 hex digits>, got main"),
        (LARGE, "absent.safetensors", "a checkpoint at absent.safetensors, got No such file"),
    ],
)
def test_unknown_models_and_weights_are_refused_with_suggestions(frame, model, pretrained, message):
    with pytest.raises(EncoderError, match=message):
        frame.aesthetic.embed(model=model, pretrained=pretrained)


def test_encoders_fit_predictors_by_name_without_a_download(frame):
    spec = EncoderSpec.of(LARGE, "OpenAI", "auto")
    assert (spec.kind, spec.pretrained, spec.width) == ("tag", "openai", 768)
    assert spec.name == list_predictors()["laion-v2"].encoder
    spec.check_fit(list_predictors()["laion-v2"])
    for model, tag, predictor in (
        ("ViT-L-14-336-quickgelu", "openai", "laion-v2"),
        (LARGE, "dfn2b", "laion-v2"),
        ("ViT-B-32-quickgelu", "openai", "laion-v1-b16"),
    ):
        with pytest.raises(
            EncoderError, match=rf"{re.escape(list_predictors()[predictor].encoder)}.*got {model} \({tag}\)"
        ):
            frame.aesthetic.embed_and_score(model=model, pretrained=tag, predictor=predictor, threshold=5)
    EncoderSpec.of("ViT-B-32-quickgelu", "openai", "auto").check_fit(list_predictors()["laion-v1-b32"])
    EncoderSpec.of(LARGE, f"someone/copy@{REVISION}", "auto").check_fit(list_predictors()["laion-v2"])
    with pytest.raises(EncoderError, match="got ViT-B-32"):
        EncoderSpec.of("ViT-B-32", f"someone/copy@{REVISION}", "auto").check_fit(list_predictors()["laion-v1-b32"])


def test_torch_and_safetensors_weights_embed_the_same(frame, weights, tmp_path):
    tensors, _ = read_tensors(weights)
    save_file(tensors, tmp_path / "small.safetensors")
    expected = embed(frame, weights)
    assert embed(frame, tmp_path / "small.safetensors").tobytes() == expected.tobytes()
    same_place = tmp_path / "small.pt"
    torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in tensors.items()}}, same_place)
    assert embed(frame, same_place).tobytes() == expected.tobytes()
    torch.save({key: tensor + 0.01 for key, tensor in tensors.items()}, same_place)
    assert np.abs(embed(frame, same_place) - expected).max() > 1e-3


def test_weights_that_change_after_the_check_are_refused(weights, tmp_path):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    spec = EncoderSpec.of(image_files.MODEL, copy, "float32")
    torch.save({key: tensor + 1 for key, tensor in read_tensors(weights)[0].items()}, copy)
    with pytest.raises(EncoderError, match=r"with sha256 [0-9a-f]{64}, got another content: it has changed since"):
        encoders.load_encoder(spec)


class Escape:
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_weights_never_run_code_and_other_files_are_refused(frame, weights, tmp_path):
    escape = Escape()
    escape.path = tmp_path / "escaped"
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(escape))
    torch.save({**read_tensors(weights)[0], "visual.proj": escape}, tmp_path / "zip.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # It goes away, the files that were made with it do not.
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    (tmp_path / "page.pt").write_bytes(b"<!DOCTYPE html><html></html>")
    (tmp_path / "truncated.pt").write_bytes(weights.read_bytes()[:9_000])
    save_file({"weight": torch.ones(1, 768), "bias": torch.ones(1)}, tmp_path / "head.safetensors")
    for name, message in (
        ("pickle.pt", "asks to run code"),
        ("zip.pt", "asks to run code"),
        ("script.pt", "asks to run code"),
        ("page.pt", "got an HTML page"),
        ("truncated.pt", "damaged"),
        ("head.safetensors", "expected the weights of tiny-clip"),
    ):
        with pytest.raises(EncoderError, match=message) as caught:
            embed(frame, tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not escape.path.exists()


def test_preprocess_configs_are_those_of_the_weights(tmp_path, weights):
    """SigLIP's weights want another mean color than CLIP's, and ViT-L-14's are published with two."""
    checkpoint = tmp_path / "weights.pt"
    checkpoint.write_bytes(weights.read_bytes())
    _, siglip = fetch_weights("ViT-B-16-SigLIP", "file", str(checkpoint))
    assert siglip == {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    _, clip = fetch_weights(LARGE, "file", str(checkpoint))
    assert (clip["mean"], clip["std"], clip["resize_mode"]) == (*OPENAI, "shortest")
    with pytest.raises(EncoderError, match=r"expected open_clip_config.json beside .*several mean colors"):
        fetch_weights("ViT-L-14", "file", str(checkpoint))
    config = {"model_cfg": {"quick_gelu": False}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "size": [224, 224]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert fetch_weights("ViT-L-14", "file", str(checkpoint))[1] == {"mean": [0.1, 0.2, 0.3]}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({**config, "model_cfg": {"quick_gelu": True}}))
    with pytest.raises(EncoderError, match="expected model='ViT-L-14-quickgelu'"):
        fetch_weights("ViT-L-14", "file", str(checkpoint))
    (tmp_path / "open_clip_config.json").write_text("[]")
    with pytest.raises(EncoderError, match="expected open_clip's model_cfg"):
        fetch_weights("ViT-L-14", "file", str(checkpoint))


HUB = """
import sys, open_clip, pandas as pd
from pathlib import Path
open_clip.add_model_config(Path(sys.argv[1]))
import dask_aesthetic
from helpers import image_files
frame = pd.DataFrame({"image": image_files.images(5)})
out = frame.aesthetic.embed(model=image_files.MODEL, pretrained=sys.argv[2], on_invalid="raise")
pd.DataFrame(out["image_embedding"].tolist()).to_parquet(sys.argv[3])
"""


def test_a_hub_repository_is_downloaded_and_checked(frame, weights, tmp_path):
    from safetensors.torch import save

    config = {"model_cfg": image_files.CONFIG, "preprocess_cfg": {"mean": [0.3] * 3, "std": [0.2] * 3}}
    bodies = {
        "open_clip_model.safetensors": Answer(save(read_tensors(weights)[0])),
        "open_clip_config.json": Answer(json.dumps(config).encode(), large=False),
    }
    out = tmp_path / "out.parquet"
    with serving() as hub:
        hub.answers.update({f"someone/clip/{name}": answer for name, answer in bodies.items()})
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        path = os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])
        command = [sys.executable, "-c", HUB, str(weights.parent), f"someone/clip@{REVISION}", str(out)]
        done = subprocess.run(
            command, env={**kept, **settings, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    model = open_clip.create_model(
        image_files.MODEL, str(weights), force_preprocess_cfg={"mean": (0.3,) * 3, "std": (0.2,) * 3}
    ).eval()
    config = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    preprocess = open_clip.transform.image_transform_v2(config, is_train=False)
    images = torch.stack([preprocess(Image.open(BytesIO(data))) for data in frame["image"]])
    with torch.no_grad():
        expected = model.encode_image(images, normalize=True).numpy()
    assert np.abs(pd.read_parquet(out).to_numpy() - expected).max() < 1e-6


def test_a_batch_that_runs_out_of_memory_is_halved_for_the_rest_of_the_run(frame, weights, monkeypatch):
    expected = embed(frame, weights, batch_size=1)
    encoder = encoders.load_encoder(EncoderSpec.of(image_files.MODEL, weights, "auto"))
    seen: list[int] = []
    visual = encoder._visual

    def small_device(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory") if len(seen) % 2 else MemoryError("std::bad_alloc")
        return visual(images)

    monkeypatch.setattr(encoder, "_visual", small_device)
    monkeypatch.setattr(encoder, "_limit", None)
    assert np.abs(embed(frame, weights, batch_size=5) - expected).max() < 1e-6
    assert seen == [5, 2, 2, 2]
    assert np.abs(embed(frame, weights) - expected).max() < 1e-6
    assert seen == [5, 2, 2, 2, 2, 2, 2]
    monkeypatch.setattr(encoder, "_limit", None)

    def no_device(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("none at all")

    monkeypatch.setattr(encoder, "_visual", no_device)
    with pytest.raises(torch.OutOfMemoryError, match="none at all"):
        embed(frame, weights)


def test_float32_is_full_float32_whatever_torch_is_set_to(frame, weights):
    expected = embed(frame, weights)
    visual = encoders.load_encoder(EncoderSpec.of(image_files.MODEL, weights, "float32"))._visual
    new, seen = hasattr(torch.backends, "fp32_precision"), []
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn

    def read() -> tuple[object, ...]:
        if new:
            return matmul.fp32_precision, cudnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
        return matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()

    assert read()[1] in ("tf32", True)  # What torch is set to by default.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    hook = visual.conv1.register_forward_pre_hook(lambda *_: seen.append(read()))
    try:
        outside = read()
        assert embed(frame, weights).tobytes() == expected.tobytes()
        assert read() == outside
    finally:
        hook.remove()
        torch.set_float32_matmul_precision(before)
    assert outside[1:] == (("tf32", "bf16") if new else (True, "medium"))
    assert set(seen) == {("ieee",) * 3 if new else (False, False, "highest")}


def test_auto_is_settled_by_the_devices_that_compute(weights):
    spec = EncoderSpec.of(image_files.MODEL, weights, "auto")
    cpu, gpu = spec.on(["cpu", "cpu"]), spec.on(["cuda"])
    assert (cpu.precision, cpu.device) == ("float32", "")
    assert (gpu.precision, gpu.device) == ("bfloat16", "cuda")
    half = EncoderSpec.of(image_files.MODEL, weights, "float16")
    assert (half.on(["cpu"]).precision, half.on(["cpu"]).device) == ("float16", "cpu")
    full = EncoderSpec.of(image_files.MODEL, weights, "float32")
    assert full.on(["cpu", "cuda"]) == full == cpu
    assert encoders.load_encoder(spec) is encoders.load_encoder(full)
    for mixed in (spec, half):
        with pytest.raises(EncoderError, match=rf"precision='{mixed.precision}', got 1 with and 2 without.*'float32'"):
            mixed.on(["cpu", "cuda", "cpu"])


def test_a_process_that_would_compute_otherwise_is_refused(weights):
    planned = EncoderSpec.of(image_files.MODEL, weights, "auto").on(["cuda"])
    message = r"expected bfloat16 embeddings by a GPU \(CUDA\), as planned, got a process with a CPU alone.*'float32'"
    with pytest.raises(EncoderError, match=message):
        encoders.load_encoder(planned)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close_and_normalized(frame, weights, precision):
    full, half = embed(frame, weights), embed(frame, weights, precision=precision)
    assert 0 < np.abs(full - half).max() < 0.02
    assert np.abs(np.linalg.norm(half.astype(np.float64), axis=1) - 1).max() < 1e-6


def test_another_architecture_config_in_a_worker_is_refused(weights, tmp_path):
    spec = EncoderSpec.of(image_files.MODEL, weights, "float32")
    other = EncoderSpec(**{**vars(spec), "architecture": json.dumps({"embed_dim": 64}), "precision": "auto"})
    with pytest.raises(EncoderError, match="the same configuration of 'tiny-clip' in every worker"):
        encoders.load_encoder(other)


def test_a_pillow_with_other_pixels_in_a_worker_is_refused(weights, monkeypatch):
    spec = EncoderSpec.of(image_files.MODEL, weights, "float32")
    monkeypatch.setattr(encoders, "pillow_rule", lambda: "99.0")
    with pytest.raises(EncoderError, match=rf"resizes as {spec.pillow} in every worker.*one that resizes as 99\.0"):
        encoders.load_encoder(replace(spec, sha256=""))


@pytest.mark.parametrize(("module", "package"), [("open_clip", "open_clip"), ("PIL", "Pillow")])
def test_a_missing_package_is_named_with_its_extra(frame, weights, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*pip install 'dask-aesthetic\[embed\]'"):
        embed(frame, weights)


def test_an_open_clip_that_does_not_import_is_refused_with_a_remedy(frame, weights, monkeypatch, tmp_path):
    message = "operator torchvision::nms does not exist"  # What torchvision says beside another build of torch.
    (tmp_path / "open_clip.py").write_text(f"raise RuntimeError({message!r})")
    monkeypatch.delitem(sys.modules, "open_clip")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EncoderError, match=f"got RuntimeError: {message}.* pip install --force-reinstall torch"):
        embed(frame, weights)


def test_the_model_is_on_the_gpu_of_its_process(frame, weights, monkeypatch):
    expected = embed(frame, weights, precision="float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(encoders, "own_gpu", lambda: torch.device("cpu", 0))
    monkeypatch.setattr(encoders, "_encoders", {})
    assert np.array_equal(embed(frame, weights, precision="float32"), expected)
    assert [encoder.device.index for encoder in encoders._encoders.values()] == [0]


def test_offline_is_said_within_seconds(monkeypatch, tmp_path):
    """Where nothing answers, the hub's own client tries for minutes."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    for kind, name in (("tag", "openai"), ("hub", f"someone/absent@{REVISION}")):
        with pytest.raises(EncoderError, match=r"no connection to 127.0.0.1.*set HF_HOME to a cache"):
            fetch_weights(LARGE, kind, name)
    assert constants.HF_HUB_OFFLINE is False
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as hub:  # The process's own calls of the hub stay online.
        hub.answers["someone/absent"] = Answer(b"")
        assert get_session().get(f"{hub.url}/someone/absent/resolve/{REVISION}/model.safetensors").status_code == 200
