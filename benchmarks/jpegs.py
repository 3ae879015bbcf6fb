"""JPEGs that take as long to decode as photographs."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

SIZE = 640, 480


@cache
def jpeg(seed: int) -> bytes:
    """JPEG of noise whose amplitudes fall with frequency, as in photographs."""
    width, height = SIZE
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    frequency[0, 0] = 1 / width
    planes = []
    for _ in range(3):
        phases = np.fft.fft2(rng.standard_normal((height, width)))
        plane = np.fft.ifft2(phases / frequency).real
        planes.append(plane / plane.std())
    gray, *color = planes
    mixed = np.stack([128 + 50 * gray + 12 * part for part in (color[0], 0 * gray, color[1])], axis=-1)
    file = BytesIO()
    Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=87)
    return file.getvalue()
