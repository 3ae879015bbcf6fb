"""Catalog of published predictors, found by name or by weights or layout, in whatever file they come."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from dask_aesthetic.defaults import COSINE, SIMILARITY
from dask_aesthetic.errors import ArgumentError
from dask_aesthetic.predictors.base import PredictorInfo

L14, B32, B16 = "ViT-L-14-quickgelu (openai)", "ViT-B-32-quickgelu (openai)", "ViT-B-16-quickgelu (openai)"
IMPROVED: dict[str, Any] = {
    "source": "https://github.com/christophschuhmann/improved-aesthetic-predictor",
    "license": "Apache-2.0",
    "scale": "laion-v2",
    "encoder": L14,
    "width": 768,
    "revision": "fe88a163f4661b4ddabba0751ff645e2e620746e",
}
VERSION_1: dict[str, Any] = {
    "source": "https://github.com/LAION-AI/aesthetic-predictor",
    "license": "MIT",
    "scale": "laion-v1",
}


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a head's layers, by which it is known where its weights are not.

    Attributes
    ----------
    name : str
        Last part of the names before the layers' numbers.
    positions : tuple of int
        The layers' numbers.
    widths : tuple of int
        Floats of the embedding, and values of each layer.
    """

    name: str
    positions: tuple[int, ...]
    widths: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A published head.

    Attributes
    ----------
    info : PredictorInfo
    file : str
        The published checkpoint's file name.
    weights : str
        sha256 of the layers (`Stack.digest`), equal in every file format; empty where a `layout` is known instead.
    left_out : str
        Reason why its weights do not ship with the package; empty if they do.
    input_scale : float
        Factor of the unit vector before the first layer.
    output_activation : {"none", "sigmoid"}
    layout : Layout or None
        Of a head without an activation between its layers.
    """

    info: PredictorInfo
    file: str
    weights: str = ""
    left_out: str = ""
    input_scale: float = 1.0
    output_activation: str = "none"
    layout: Layout | None = None

    @property
    def folded(self) -> bool:
        """Whether its weights ship with the package."""
        return not self.left_out


KNOWN = (
    Known(
        info=PredictorInfo(
            name="laion-v2", sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0", **IMPROVED
        ),
        file="sac+logos+ava1-l14-linearMSE.pth",
        weights="3150b473f64b08fb62b58e809d37de7d18816a539e7693a35bd6883aa0ada1bf",
    ),
    Known(
        info=PredictorInfo(
            name="laion-v2-ava", sha256="390a3aafaf3b37d57148f9b22f30556de38343064b7d915acfa80d3812b4c9ff", **IMPROVED
        ),
        file="ava+logos-l14-linearMSE.pth",
        weights="08b369b0fc856b3407a31fb32ae6218b77475af79f0b2ee4b5f281154ce249d2",
    ),
    Known(
        info=PredictorInfo(
            name="laion-v2-ava-relu",
            sha256="0af3254c651d55b7ea851429c20f26ec880bb0169805a4df85b814bd7966f3e4",
            **IMPROVED,
        ),
        file="ava+logos-l14-reluMSE.pth",
        weights="124da61106dfa11641d398a1d3f880634dd00b956c48e479481d5bca16184758",
        left_out="whose ReLU layers do not fold and so do not ship with the package",
    ),
    Known(
        info=PredictorInfo(
            name="laion-v1-l14",
            encoder=L14,
            width=768,
            revision="7e37768a02b0863eac390a702903aaa90ecf938e",
            sha256="2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
            **VERSION_1,
        ),
        file="sa_0_4_vit_l_14_linear.pth",
        weights="cfed5ff22c8bf3ffa7a5edc37c916452f1be07737747d0e3ebbded5d16766a94",
    ),
    Known(
        info=PredictorInfo(
            name="laion-v1-b32",
            encoder=B32,
            width=512,
            revision="814214009feff106add4bb983807704ccdd5a0db",
            sha256="c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",
            **VERSION_1,
        ),
        file="sa_0_4_vit_b_32_linear.pth",
        weights="46f070d0064c447ff390dd43d30d704fc65a07f42c05501a5e4d33d864f171bf",
    ),
    Known(
        info=PredictorInfo(
            name="laion-v1-b16",
            encoder=B16,
            width=512,
            revision="7e37768a02b0863eac390a702903aaa90ecf938e",
            sha256="8ad3923d7ecf019df20ecd2ab5542a3075fbba0278d239c0371345f3d7fcbde0",
            **VERSION_1,
        ),
        file="sa_0_4_vit_b_16_linear.pth",
        weights="5518960a8920f0a00294f8743122f0377ce26f7fb52c86870fc6dd5c86d0e2a8",
    ),
    Known(
        info=PredictorInfo(
            name="simulacra-l14",
            encoder=L14,
            width=768,
            scale="simulacra",
            source="https://github.com/crowsonkb/simulacra-aesthetic-models",
            license="MIT",
            sha256="f77d1d0f4bb04b0ff8e60c5747fd0bfff0cc4a85263a6106627522c06eae85c6",
        ),
        file="sac_public_2022_06_29_vit_l_14_linear.pth",
        weights="a87aa24b0909b0e69da06b99840d7db382c7732fe77d327abd4578f49015e646",
        input_scale=sqrt(768),
    ),
    Known(
        info=PredictorInfo(
            name="nsfw-l14",
            encoder=L14,
            width=768,
            scale="nsfw-l14",
            source="https://github.com/LAION-AI/CLIP-based-NSFW-Detector",
            revision="d6bb8fe31fd4aecbfed7dfb62df4fe5858bfc014",
            sha256="4002f56ed8ca407c1b6a1ceb435e62043c3c4e3f3a770beaa0c230eb743a7778",
            license="MIT",
            score_column="unsafe_probability",
            higher_is_better=False,
            is_probability=True,
            threshold=0.5,
        ),
        file="clip_autokeras_binary_nsfw_l14.safetensors",
        weights="007a19a5b971b7455d8bb484180d300a66846a6ee52b7ed5a198918074644452",
        output_activation="sigmoid",
    ),
    Known(
        info=PredictorInfo(
            name="aesthetic-predictor-v2-5",
            encoder="ViT-SO400M-14-SigLIP-384 (webli)",
            width=1152,
            scale="aesthetic-predictor-v2-5",
            source="https://github.com/discus0434/aesthetic-predictor-v2-5",
            license="AGPL-3.0",
        ),
        file="aesthetic_predictor_v2_5.pth",
        left_out="whose license, AGPL-3.0, is not this package's",
        layout=Layout("scoring_head", (0, 2, 4, 6, 8), (1152, 1024, 128, 64, 16, 1)),
    ),
)

BY_NAME = {known.info.name: known for known in KNOWN}
BY_WEIGHTS = {known.weights: known for known in KNOWN if known.weights}
BY_LAYOUT = {known.layout: known for known in KNOWN if known.layout}

# Default revisions of repositories whose weights are known.
REVISIONS = {"ttj/sac-logos-ava1-l14-linearMSE": "1e77fa05081323d99725fc40a9bf9f88180490e7"}


def check_own_name(name: Any) -> None:
    """Refuse a name for a predictor of one's own that belongs to a published one, to its scale or to similarities.

    Raises
    ------
    ArgumentError
    """
    taken = {"unknown", SIMILARITY, COSINE, *(one for known in KNOWN for one in (known.info.name, known.info.scale))}
    if not isinstance(name, str) or not name or name in taken:
        raise ArgumentError(f"expected a name of your own for the predictor, got {name!r}: say name='...'")
