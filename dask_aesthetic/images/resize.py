"""Resizing for a model as open_clip does it with Pillow, to the bit: by Pillow, or by compiled code without the GIL.

Pillow changed its own bits in 13.0: where an image's height falls by more than twice what its width does, rows are
weighted before columns. The compiled code knows both rules and follows the installed Pillow; it serves only where a
check at the start finds the pixels of open_clip's own transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dask_aesthetic.images.decode import prepare_pillow
from dask_aesthetic.kernels import get_resize

if TYPE_CHECKING:
    from PIL.Image import Image

Transform = Callable[["Image"], "Image"]
BEFORE_13, FROM_13 = "before 13", "from 13"
MOST_STRETCHED = 50  # Longer side by the shorter one.


@cache
def pillow_rule() -> str:
    """Versions of Pillow, "before 13" or "from 13", that resize as the installed one; its own version if none does.

    Raises
    ------
    MissingDependencyError, ArgumentError
        As in `prepare_pillow`.
    """
    prepare_pillow()
    import PIL
    from PIL import Image

    rules = {BEFORE_13, FROM_13}
    for size, new_size in _PROBES:
        pixels = np.random.default_rng(size).integers(0, 256, size[::-1], np.uint8)

        def resized(*sizes: tuple[int, int], pixels: np.ndarray = pixels) -> bytes:
            image = Image.fromarray(pixels)
            for one in sizes:
                image = image.resize(one, Image.Resampling.BICUBIC)
            return image.tobytes()

        rows_first = resized((size[0], new_size[1]), new_size)
        columns_first = resized((new_size[0], size[1]), new_size)
        rules &= {
            rule
            for rule in rules
            if resized(new_size) == (rows_first if _is_rows_first(rule, size, new_size) else columns_first)
        }
    return next(iter(rules), PIL.__version__)


# Sizes that tell the rules apart, on both sides of the bound between them.
_PROBES = (
    ((64, 48), (32, 24)),
    ((20, 40), (10, 20)),
    ((20, 41), (10, 20)),
    ((20, 200), (10, 100)),
    ((10, 40), (20, 39)),
    ((40, 10), (39, 20)),
)


def _is_rows_first(rule: str, size: tuple[int, int], new_size: tuple[int, int]) -> bool:
    """Whether rows are weighted before columns, that is the vertical pass is first; sizes are width and height."""
    return rule == FROM_13 and size[1] - new_size[1] > max(0, 2 * (size[0] - new_size[0]))


class Resizer:
    """The part of a model's preprocessing that Pillow does: an image of any size to pixels of the model's size.

    Parameters
    ----------
    transform : callable
        From a Pillow image of any mode to an RGB image of the model's size.
    height, width : int
        Of the model's input.

    Attributes
    ----------
    height, width : int
    side : int
        The longer of both: the most that resizing makes of an image's shorter side.
    is_compiled : bool
        Whether `resize` serves; else Pillow resizes all images.
    resize_at : callable
        What `resize` does, of the address of an image, its height, its width, and the address of the result; it checks
        nothing. Only where `is_compiled`.
    """

    resize_at: Callable[[int, int, int, int], None]

    def __init__(self, transform: Transform, height: int, width: int) -> None:
        self.transform, self.height, self.width, self.side = transform, height, width, max(height, width)
        self._kernel = get_resize()
        self._rule = pillow_rule()
        self.is_compiled = self._kernel is not None and self._gives_pillows_pixels()

    def takes(self, width: int, height: int) -> bool:
        """Whether `resize` takes an image of a size; unusual ones are left to Pillow."""
        short, long = sorted((width, height))
        return self.is_compiled and short >= self._kernel.LEAST and long <= MOST_STRETCHED * short

    def resize(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """Resize pixels of an image without the GIL.

        Parameters
        ----------
        pixels : numpy.ndarray, shape (height, width, 4), uint8, contiguous
            Of a size that it `takes`; what the fourth channel holds counts for nothing.
        out : numpy.ndarray, shape (`height`, `width`, 3), uint8, contiguous
            Takes the result.
        """
        height, width, _ = pixels.shape
        for array, shape in ((pixels, (height, width, 4)), (out, (self.side, self.side, 3))):
            if array.shape != shape or array.dtype != np.uint8 or not array.flags.c_contiguous:
                raise ValueError(f"expected contiguous uint8 of shape {shape}, got {array.dtype} {array.shape}")
        if not self.takes(width, height) or not out.flags.writeable:
            raise ValueError(f"expected an image that can be resized here, got {width} x {height}")
        self.resize_at(pixels.ctypes.data, height, width, out.ctypes.data)

    def __call__(self, image: Image, out: np.ndarray) -> None:
        """Resize a decoded image into `out`, as of `resize`."""
        # Pillow makes RGB of gray in the same way before and after resizing, but for a transparent level.
        is_plain = image.mode == "RGB" or (image.mode == "L" and "transparency" not in image.info)
        if is_plain and self.takes(*image.size):
            self.resize(rgbx(image), out)
        else:
            out[:] = np.asarray(self.transform(image))

    def _gives_pillows_pixels(self) -> bool:
        """Whether `resize` gives the pixels of the transform, for sizes that tell ways of resizing apart."""
        from PIL import Image

        if self._rule not in (BEFORE_13, FROM_13) or self.height != self.width or self.side < self._kernel.LEAST:
            return False
        self.is_compiled = True
        kernel, given = self._kernel.resize_and_crop, (self.side, self._rule == FROM_13)
        self.resize_at = partial(kernel, *given)
        rng = np.random.default_rng(0)
        out = np.empty((self.side, self.side, 3), np.uint8)
        for size, levels in _check_sizes(self.side):
            pixels = rng.integers(0, levels, (*size[::-1], 3), np.uint8) * np.uint8(256 // levels - (levels == 2))
            image = Image.fromarray(pixels)
            self.resize(rgbx(image), out)
            if not np.array_equal(out, np.asarray(self.transform(image))):
                return False
        self.resize_at = partial(kernel.compiled, *given)  # Which is there now: nothing has to be caught any more.
        return True


def _check_sizes(side: int) -> Sequence[tuple[tuple[int, int], int]]:
    """Sizes, and levels of the random pixels: 256, or 2 for sums that have to be clipped."""
    sizes = (side, side), (640, 480), (480, 640), (31, 47), (40, 333), (301, 997), (side + 1, 3 * side), (1201, 225)
    return [*((size, 256) for size in sizes), ((331, 480), 2), ((31, 97), 2)]


def rgbx(image: Image) -> np.ndarray:
    """Pixels of an RGB or gray image, shape (height, width, 4), uint8: Pillow's own memory where it gives access."""
    width, height = image.size
    if image.mode == "RGB" and hasattr(image, "__arrow_c_array__"):
        try:
            pixels: Any = pa.array(image).values.to_numpy()
            return pixels.reshape(height, width, 4)
        except ValueError:  # Pillow keeps large images in several blocks.
            pass
    return np.asarray(image.convert("RGBX"))
