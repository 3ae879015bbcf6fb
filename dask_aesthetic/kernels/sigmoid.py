"""The sigmoid of scores, the same 32 bits on every processor and GPU.

Libraries compute ``exp`` in several ways, with other last bits. Here it is a sum of products in float64; each is
rounded on its own (IEEE 754), so that no machine computes another one; its error is below 1e-15, and the result is
rounded to float32 last:

    e = exp(-|x|) = 2**k * (1 + r + r**2 / 2! + ... + r**13 / 13!),   k = round(-|x| / ln 2),   r = -|x| - k ln 2

    sigmoid(x) = 1 / (1 + e) where x >= 0, else e / (1 + e)
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
import torch

LARGEST = 104.0  # exp(-104) is below the smallest float32.
INVERSE_LN2 = 1 / 0.6931471805599453
# ln 2 as a number of 32 bits, whose products with k are exact, and the rest.
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
TERMS = [1 / factorial(n) for n in range(13, -1, -1)]


def sigmoid(scores: torch.Tensor) -> torch.Tensor:
    """Sigmoid of float32 scores, shape (n,), as float32 on the same device; NaN stays NaN."""
    if scores.device.type != "cpu":
        return _sigmoid(scores.to(torch.float64), torch, lambda k: k.to(torch.int64)).to(torch.float32)
    # numpy, since torch would wake its threads, for which cores may be busy.
    with np.errstate(invalid="ignore"):
        found = _sigmoid(scores.numpy().astype(np.float64), np, lambda k: k.astype(np.int64))
        return torch.from_numpy(found.astype(np.float32))


def _sigmoid(x: Any, xp: Any, to_int: Any) -> Any:
    """Sigmoid of a float64 array of the library `xp`."""
    a = -xp.clip(xp.abs(x), 0.0, LARGEST)
    k = xp.round(a * INVERSE_LN2)
    r = a - k * LN2_HIGH
    r = r - k * LN2_LOW
    total = xp.full_like(r, TERMS[0])
    for term in TERMS[1:]:
        total = total * r
        total = total + term
    bits = (to_int(k) + 1023) << 52  # Of 2**k.
    e = total * bits.view(xp.float64)
    return xp.where(x < 0, e, 1.0) / (1.0 + e)
