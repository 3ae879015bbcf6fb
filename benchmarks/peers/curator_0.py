"""The partition function of NeMo Curator 0.9's AestheticClassifier, by its own code, on a cuDF frame.

Only the two files of the classifier are run, from the wheel: the package itself needs an old RAPIDS. Stubs replace
their other imports: the worker that holds the model, and the list column that wraps the scores before they are
unwrapped again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


def classifier(wheel: Path, checkpoint: Path) -> Callable[[Any], Any]:
    """Function that adds `aesthetic_score` to a cuDF partition with a column `image_embedding`."""
    sys.path.insert(0, str(wheel))
    for name in ("nemo_curator", "nemo_curator.image", "nemo_curator.image.classifiers", "nemo_curator.utils"):
        _module(name, __path__=[f"{wheel}/{name.replace('.', '/')}"])
    _module("nemo_curator.datasets", ImageTextPairDataset=object)
    _module("nemo_curator.utils.distributed_utils", load_object_on_worker=_load)
    _module("nemo_curator.utils.file_utils", NEMO_CURATOR_HOME=str(checkpoint.parent))
    for name in ("crossfit", "crossfit.backend", "crossfit.backend.cudf"):
        _module(name, __path__=[])
    _module("crossfit.backend.cudf.series", create_list_series_from_1d_or_2d_ar=_wrapped)
    from nemo_curator.image.classifiers.aesthetic import AestheticClassifier

    made = AestheticClassifier(model_path=str(checkpoint))

    def score(frame: Any) -> Any:
        with redirect_stdout(StringIO()):  # It prints a line per partition.
            return made._run_inference(frame, {"number": 0})

    return score


def _module(name: str, **names: Any) -> None:
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(names)


@cache
def _model(load: Callable[..., Any], device: str) -> Any:
    return load(device=device)


def _load(_: str, load: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    return _model(load, **arguments)


def _wrapped(scores: Any, index: Any) -> Any:
    import cudf

    return SimpleNamespace(list=SimpleNamespace(leaves=cudf.Series(scores)), index=index)
