"""Generated images, valid and invalid, and a small model to embed them."""

from __future__ import annotations

import json
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

MODEL, WIDTH = "tiny-clip", 32
CONFIG = {
    "embed_dim": WIDTH,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


def small_model(folder: Path) -> Path:
    """A checkpoint of a small model with random weights, whose name open_clip knows afterwards."""
    import open_clip

    folder.mkdir(exist_ok=True)
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = open_clip.create_model(MODEL)
    torch.save(model.state_dict(), folder / "small.pt")
    return folder / "small.pt"


def colors(seed: int, width: int = 90, height: int = 60, channels: int = 3) -> np.ndarray:
    """Smooth random colors, (height, width, channels), uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(coarse[..., at]).resize((width, height), 3)) for at in range(channels)], axis=-1
    )


def encoded(pixels: Image.Image, kind: str, **options) -> bytes:
    file = BytesIO()
    pixels.save(file, kind, **options)
    return file.getvalue()


def image(seed: int, kind: str = "JPEG", **options) -> bytes:
    """A valid encoded image."""
    return encoded(Image.fromarray(colors(seed)), kind, **options)


def images(count: int) -> list[bytes]:
    return [image(seed) for seed in range(count)]


def truncate(data: bytes, percent: int) -> bytes:
    return data[: len(data) * percent // 100]


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header says `width` x `height`, without pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def real_bomb() -> bytes:
    """90 million black pixels in a few kilobytes."""
    return encoded(Image.new("1", (9_500, 9_500)), "PNG")


def frames(count: int, mode: str = "RGB") -> list[Image.Image]:
    return [Image.fromarray(colors(seed)).convert(mode) for seed in range(count)]


def animated(kind: str) -> bytes:
    first, *others = frames(3)
    return encoded(first, kind, save_all=True, append_images=others, **({"lossless": True} if kind == "WEBP" else {}))


def invalid_images() -> dict[str, tuple[bytes, str]]:
    """Invalid images by name, each with its expected status."""
    jpeg, progressive, png, webp, gif, tiff = (
        image(1),
        image(1, progressive=True),
        image(1, "PNG"),
        image(1, "WEBP"),
        image(1, "GIF"),
        image(1, "TIFF", compression="tiff_lzw"),
    )
    valid = {"jpeg": jpeg, "progressive": progressive, "png": png, "webp": webp, "gif": gif, "tiff": tiff}
    truncated = {
        f"{name} truncated at {percent} %": (truncate(data, percent), "undecodable")
        for name, data in valid.items()
        for percent in (10, 50, 90)
    }
    noise = np.random.default_rng(0).integers(0, 256, 4_000, dtype=np.uint8).tobytes()
    return truncated | {
        "no bytes": (b"", "undecodable"),
        "a page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "undecodable"),
        "noise": (noise, "undecodable"),
        "a header alone": (jpeg[:20], "undecodable"),
        "JPEG's first bytes, then noise": (jpeg[:3] + noise, "undecodable"),
        "PNG with a wrong checksum": (png[:60] + bytes([png[60] ^ 1]) + png[61:], "undecodable"),
        "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "undecodable"),
        "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "undecodable"),
        "gray of 32 bits": (encoded(Image.new("I", (40, 40), 70_000), "TIFF"), "undecodable"),
        "gray of floats": (encoded(Image.new("F", (40, 40), 0.5), "TIFF"), "undecodable"),
        "a header of 10 billion pixels": (png_header(100_000, 100_000), "too_large"),
        "a header of 90 million pixels": (png_header(9_500, 9_500), "too_large"),
        "90 million pixels": (real_bomb(), "too_large"),
        "a line": (encoded(Image.new("L", (100_000, 1)), "PNG"), "too_large"),
        "a column": (encoded(Image.new("L", (1, 100_000)), "PNG"), "too_large"),
    }


def scoring(weights: Path) -> dict[str, object]:
    """The small model, and a predictor for it in a file beside it, as arguments."""
    path = weights.with_name("head.pt")
    if not path.exists():
        weight = np.random.default_rng(3).standard_normal((1, WIDTH)).astype(np.float32)
        torch.save({"weight": torch.from_numpy(weight), "bias": torch.tensor([5.0])}, path)
    return {"model": MODEL, "pretrained": weights, "predictor": path}
