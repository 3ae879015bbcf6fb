"""Float32 shortcuts of torch: off within, and afterwards as they were, in the settings of old and of new versions."""

from __future__ import annotations

import threading

import pytest
import torch

from dask_aesthetic.kernels.full_precision import full_precision

NEW = hasattr(torch.backends, "fp32_precision")
OLD_WAYS = {
    "as installed": lambda: None,
    "allow_tf32": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "no TF32 in cuDNN": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
}
NEW_WAYS = {
    "TF32 everywhere": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "TF32 in convolutions": lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "tf32"),
    "TF32 on GPUs": lambda: setattr(torch.backends.cudnn, "fp32_precision", "tf32"),
    "bfloat16 on CPUs": lambda: setattr(torch.backends.mkldnn, "fp32_precision", "bf16"),
    "full": lambda: setattr(torch.backends, "fp32_precision", "ieee"),
}


def precisions() -> list[str]:
    """Precision of products and convolutions, on GPUs and CPUs."""
    backends = torch.backends
    if not NEW:
        cudnn = "tf32" if backends.cudnn.allow_tf32 else "ieee"
        return [{"highest": "ieee"}.get(torch.get_float32_matmul_precision(), "less"), cudnn]
    parts = backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv
    return [part.fp32_precision for part in parts]


def state() -> list[object]:
    """All that a user can read, also after another setting of what the others inherit from."""
    backends, seen = torch.backends, [precisions()]
    if not NEW:
        return [*seen, torch.get_float32_matmul_precision(), backends.cuda.matmul.allow_tf32]
    inherited = backends.fp32_precision
    for value in ("none", "ieee", "tf32"):
        backends.fp32_precision = value
        seen.append(precisions())
    backends.fp32_precision = inherited
    return [*seen, inherited, backends.cudnn.fp32_precision, backends.mkldnn.fp32_precision]


@pytest.fixture
def settings():
    """Restores what a test sets, in this process."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    if NEW:
        for part in (torch.backends, torch.backends.cudnn, torch.backends.mkldnn):
            part.fp32_precision = "none"
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]
    if NEW:
        for part in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul):
            part.fp32_precision = "none"


@pytest.mark.parametrize("way", OLD_WAYS)
def test_older_and_newer_settings_of_products_agree_within(settings, way):
    """torch refuses products on a GPU where they do not."""
    OLD_WAYS[way]()
    with full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cuda.matmul.allow_tf32 is False


@pytest.mark.parametrize("way", {**OLD_WAYS, **NEW_WAYS} if NEW else OLD_WAYS)
def test_shortcuts_are_off_within_and_as_before_afterwards(settings, way):
    {**OLD_WAYS, **NEW_WAYS}[way]()
    before = state()
    with full_precision():
        assert set(precisions()) <= {"ieee"}
        with full_precision():
            torch.nn.Conv2d(3, 4, 2)(torch.ones(1, 3, 4, 4))
        assert set(precisions()) <= {"ieee"}
    assert state() == before
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert state() == before


def test_no_caller_computes_after_another_has_restored(settings):
    torch.set_float32_matmul_precision("high")
    before = state()
    first_left, seen = threading.Event(), []

    def second() -> None:
        with full_precision():
            inside.set()
            first_left.wait(10)
            seen.append(set(precisions()))

    inside, thread = threading.Event(), threading.Thread(target=second)
    with full_precision():
        thread.start()
        assert inside.wait(10)
    first_left.set()
    thread.join(10)
    assert seen == [{"ieee"}]
    assert state() == before
