"""Image encoders: the specification of a model, and the model that a process loads once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import torch

from dask_aesthetic.defaults import PRECISIONS
from dask_aesthetic.errors import ArgumentError, EncoderError
from dask_aesthetic.images.own_gpu import own_gpu
from dask_aesthetic.images.resize import Resizer, pillow_rule
from dask_aesthetic.images.weights import (
    architecture_of,
    describe_tag,
    fetch_weights,
    find_pretrained,
    import_open_clip,
)
from dask_aesthetic.kernels import back_off
from dask_aesthetic.kernels.full_precision import full_precision
from dask_aesthetic.predictors import PredictorInfo
from dask_aesthetic.predictors.checkpoint import sha256_of

CPU_BATCH, GPU_BATCH = 8, 256  # More are not faster, and the last batch is padded.
AUTO = {"cuda": "bfloat16", "cpu": "float32"}  # Precision by kind of device.


@dataclass(frozen=True)
class EncoderSpec:
    """Specification of an image encoder: all that decides its embeddings. It names the weights and holds none.

    Attributes
    ----------
    model : str
        open_clip's name of the model.
    kind : {"tag", "file", "hub"}
    pretrained : str
        A tag of open_clip, an absolute path, or ``owner/name@revision``.
    precision : {"auto", "float32", "bfloat16", "float16"}
        "auto" is bfloat16 on CUDA and float32 elsewhere, for each process that embeds.
    architecture : str
        open_clip's configuration of the model, as JSON.
    width : int
        Floats per embedding.
    sha256 : str
        sha256 of a weights file; empty for other kinds.
    pillow : str
        `pillow_rule`: which versions of Pillow resize as the one here. Tall images have other embeddings under others.
    device : {"", "cuda", "cpu"}
        Kind of device to compute on; empty for any. float32 agrees on all of them within 1e-6, other precisions do not.
    """

    model: str
    kind: str
    pretrained: str
    precision: str
    architecture: str
    width: int
    sha256: str = ""
    pillow: str = ""
    device: str = ""

    @classmethod
    def of(cls, model: str, pretrained: Any, precision: str) -> EncoderSpec:
        """Check the arguments of ``.aesthetic.embed``. A weights file is hashed; nothing is downloaded.

        Raises
        ------
        EncoderError, ArgumentError, MissingDependencyError
        """
        if precision not in ("auto", *PRECISIONS):
            raise ArgumentError.choice("precision", precision, ("auto", *PRECISIONS))
        architecture = architecture_of(model)
        kind, name = find_pretrained(model, pretrained)
        sha256 = sha256_of(Path(name)) if kind == "file" else ""
        config = json.dumps(architecture, sort_keys=True)
        return cls(model, kind, name, precision, config, int(architecture["embed_dim"]), sha256, pillow_rule())

    @property
    def name(self) -> str:
        """Name of the encoder, in the form of `PredictorInfo.encoder`."""
        return f"{self.model} ({self.pretrained})"

    def on(self, devices: Iterable[str]) -> EncoderSpec:
        """Specification whose precision, and device where it matters, are settled.

        Parameters
        ----------
        devices : iterable of {"cuda", "cpu"}
            `device_kind` of each process that embeds.

        Raises
        ------
        EncoderError
            The devices would compute other embeddings than each other, or than the specification says.
        """
        if self.precision == "float32":
            return self
        kinds = list(devices)
        gpus = kinds.count("cuda")
        cure = "precision='float32' is the same on both within 1e-6"
        if 0 < gpus < len(kinds):
            raise EncoderError(
                f"expected workers that all have a GPU, or none, with precision={self.precision!r}, got {gpus:,} with "
                f"and {len(kinds) - gpus:,} without, whose embeddings would differ: {cure}"
            )
        kind = kinds[0]
        if self.device not in ("", kind):
            raise EncoderError(
                f"expected {self.precision} embeddings by {_DEVICES[self.device]}, as planned, got a process with "
                f"{_DEVICES[kind]}, whose embeddings would differ: take workers of one kind; {cure}"
            )
        precision = AUTO[kind] if self.precision == "auto" else self.precision
        return replace(self, precision=precision, device="" if precision == "float32" else kind)

    def weights(self) -> str:
        """Identity of the weights and their preprocessing, as text; nothing is downloaded.

        Raises
        ------
        EncoderError
            The preprocessing of the weights in a file is unknown.
        """
        if self.kind == "tag":
            return describe_tag(self.model, self.pretrained)
        if self.kind == "hub":
            return self.pretrained
        _, preprocess = fetch_weights(self.model, self.kind, self.pretrained)
        return f"sha256 {self.sha256}" + (f" {json.dumps(preprocess, sort_keys=True)}" if preprocess else "")

    def check_fit(self, predictor: PredictorInfo) -> None:
        """Refuse a predictor that takes another encoder's embeddings.

        A file or repository does not name its training, so only the model is compared there. An unknown encoder of
        the predictor leaves only the width to compare.

        Raises
        ------
        EncoderError
        """
        expected = predictor.encoder
        name = self.name if self.kind == "tag" else self.model
        fits = expected == "unknown" or name in (expected, expected.rpartition(" (")[0])
        if not fits or predictor.width != self.width:
            raise EncoderError(
                f"expected images embedded by {expected}, {predictor.width} floats, which the predictor "
                f"{predictor.name!r} takes, got {self.name}, {self.width} floats: choose another model or predictor"
            )


_DEVICES = {"cuda": "a GPU (CUDA)", "cpu": "a CPU alone"}


def device_kind() -> str:
    """Kind of the device on which this process embeds: "cuda" if there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Encoder:
    """Image tower of a model, on the GPU if there is one.

    On one kind of machine, with one number of threads, an image's embedding is the same bytes whatever the images
    beside it: all batches have one shape. Other machines and other shapes add in another order: float32 embeddings
    differ by less than 1e-6, those of other precisions by their rounding.

    Parameters
    ----------
    spec : EncoderSpec
        As `EncoderSpec.on` gives it for this process.

    Attributes
    ----------
    device : torch.device
    resizer : Resizer
        From images to pixels of the model's size: the part of open_clip's preprocessing that Pillow does.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        open_clip = import_open_clip()
        self.device = own_gpu() if device_kind() == "cuda" else torch.device("cpu")
        model, _ = create_model(spec, self.device)
        self._visual = model.visual.requires_grad_(False)
        self._dtype: torch.dtype = getattr(torch, spec.precision)
        config = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
        # `tensor` does the last two steps, conversion and normalization, for a whole batch on the device.
        *steps, _, normalize = open_clip.transform.image_transform_v2(config, is_train=False).transforms
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=self.device).view(1, 3, 1, 1)
            for values in (normalize.mean, normalize.std)
        )
        self.resizer = Resizer(
            partial(reduce, lambda image, step: step(image), steps), *map(int, config.input_size[1:])
        )
        self._batch_size = GPU_BATCH if self.device.type == "cuda" else CPU_BATCH
        self._limit: int | None = None

    def batch_size(self, requested: int | None) -> int:
        """Images per batch: the requested number, at most the default and what has not run out of memory."""
        most = self._limit or self._batch_size
        return min(requested or most, most)

    def tensor(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalized float32 batch: the rest of open_clip's preprocessing, bit for bit.

        Parameters
        ----------
        pixels : torch.Tensor, shape (n, height, width, 3), uint8

        Returns
        -------
        torch.Tensor, shape (n, 3, height, width), float32, on the encoder's device
        """
        planes = pixels.to(self.device).permute(0, 3, 1, 2).contiguous()
        return planes.to(torch.float32).div_(255).sub_(self._mean).div_(self._std)

    def encode(self, pixels: torch.Tensor, batch: int | None = None) -> torch.Tensor:
        """Embed images in batches, which are smaller where the device runs out of memory.

        Parameters
        ----------
        pixels : torch.Tensor, shape (n, height, width, 3), uint8
        batch : int, optional
            Images per batch, to which the last one is padded; by default all.

        Returns
        -------
        torch.Tensor, shape (n, width), float32, on the encoder's device
            Output of the model, not normalized. A GPU may still be computing it.
        """
        most = batch or len(pixels)

        def run(rows: int) -> torch.Tensor:
            embeddings = torch.cat([self._forward(part, rows) for part in pixels.split(rows)])
            if rows < most:
                self._limit = rows
            return embeddings

        return back_off(run, most)

    def _forward(self, pixels: torch.Tensor, batch: int) -> torch.Tensor:
        with torch.inference_mode(), full_precision() if self._dtype == torch.float32 else nullcontext():
            inputs = self.tensor(pixels).to(self._dtype)
            if len(inputs) < batch:
                inputs = torch.cat([inputs, inputs.new_zeros(batch - len(inputs), *inputs.shape[1:])])
            features = self._visual(inputs)
            features = features[0] if isinstance(features, tuple) else features  # CoCa returns its tokens too.
        return features[: len(pixels)].to(torch.float32)


_lock = threading.Lock()
_encoders: dict[EncoderSpec, Encoder] = {}
_loads: dict[str, int] = {}


def loads() -> dict[str, int]:
    """Number of times that this process has loaded each encoder, by name."""
    return dict(_loads)


def load_encoder(spec: EncoderSpec) -> Encoder:
    """Encoder of this process, loaded on first use and cached.

    Raises
    ------
    EncoderError
        The weights cannot be fetched, differ from the specification, or belong to another model; or this process has
        another device than the specification says.
    """
    spec = spec.on([device_kind()])
    with _lock:
        if spec not in _encoders:
            _encoders[spec] = Encoder(spec)
            _loads[spec.name] = _loads.get(spec.name, 0) + 1
        return _encoders[spec]


def create_model(spec: EncoderSpec, device: torch.device) -> tuple[Any, Path]:
    """Whole model of open_clip, of the images and of the texts, in evaluation mode, and its weights file.

    Raises
    ------
    EncoderError
        As of `load_encoder`.
    """
    path, preprocess = _weights(spec)
    try:
        model = import_open_clip().create_model(
            spec.model, str(path), precision=PRECISIONS[spec.precision], device=device, force_preprocess_cfg=preprocess
        )
    except Exception as error:  # Weights of another model and truncated files raise errors of any kind.
        raise EncoderError(
            f"expected the weights of {spec.model} in {path}, got others, or a file that is damaged or asks to run "
            f"code: {' '.join(str(error).split())[:200]}"
        ) from error
    return model.eval(), path


def _weights(spec: EncoderSpec) -> tuple[Path, dict[str, Any]]:
    """Weights file and preprocess config, after a check that this process understands the spec as its maker did."""
    if json.dumps(architecture_of(spec.model), sort_keys=True) != spec.architecture:
        raise EncoderError(
            f"expected the same configuration of {spec.model!r} in every worker, got another one in this"
        )
    if pillow_rule() != spec.pillow:
        raise EncoderError(
            f"expected a Pillow that resizes as {spec.pillow} in every worker, as planned, got one that resizes as "
            f"{pillow_rule()}, whose embeddings of tall images would differ: install the same Pillow"
        )
    path, preprocess = fetch_weights(spec.model, spec.kind, spec.pretrained)
    if spec.sha256 and sha256_of(path) != spec.sha256:
        raise EncoderError(f"expected {path} with sha256 {spec.sha256}, got another content: it has changed since")
    return path, preprocess
