"""What importing the package does, each time in a fresh interpreter that takes warnings for errors."""

from __future__ import annotations

import importlib.util
import os

import pytest

NO_CUDF = pytest.mark.skipif(importlib.util.find_spec("cudf") is not None, reason="cudf is installed")
CUDF = {
    "__init__.py": "from cudf.core.dataframe import DataFrame\nfrom cudf import api\n",
    "core/__init__.py": "",
    "core/dataframe.py": "class DataFrame:\n    _accessors = set()\n",
    "api/__init__.py": "from cudf.api import extensions\n",
    # As cuDF 26.10 has it, but for the docstrings.
    "api/extensions.py": """
import warnings

from cudf.core.dataframe import DataFrame


class _Accessor:
    def __init__(self, name, accessor):
        self._name = name
        self._accessor = accessor

    def __get__(self, obj, cls):
        return self._accessor if obj is None else self._accessor(obj)


def register_dataframe_accessor(name):
    def decorator(accessor):
        if hasattr(DataFrame, name):
            warnings.warn(f"Attribute {name} will be overridden in {DataFrame.__name__}")
        DataFrame._accessors.add(name)
        setattr(DataFrame, name, _Accessor(name, accessor))
        return accessor

    return decorator
""",
}
TOOLS = """
import importlib, importlib.resources, importlib.util, inspect, sys

def hooks():
    return [finder for finder in sys.meta_path if type(finder).__module__ == "dask_aesthetic.register"]

def assert_registered():
    import cudf, dask_aesthetic
    assert cudf.DataFrame.aesthetic is dask_aesthetic.AestheticAccessor
    assert isinstance(cudf.DataFrame().aesthetic, dask_aesthetic.AestheticAccessor)
    assert hooks() == []
"""


@pytest.fixture
def fresh(tmp_path, interpreter):
    """Run code in a fresh interpreter; `files` of a package cudf are laid where it finds them first."""

    def run(code: str, files: dict[str, str] | None = None) -> None:
        for name, text in (files or {}).items():
            file = tmp_path / "cudf" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = interpreter.run(TOOLS + code, env={**os.environ, "PYTHONPATH": path})
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""

    return run


def test_importing_loads_nothing_optional_starts_no_cuda_and_registers_once(fresh):
    fresh("""
import torch
import dask.dataframe as dd, pandas as pd

theirs = set(sys.modules)  # Dask takes in cupy and jinja2 where they are installed, torch pynvml.
assert not torch.cuda.is_initialized()
import dask_aesthetic
ours = set(sys.modules) - theirs
left_out = {"cudf", "dask_cudf", "dask_cuda", "rmm", "pylibcudf", "numba", "open_clip", "matplotlib", "PIL",
            "webdataset", "huggingface_hub"}
assert not left_out & set(sys.modules), left_out & set(sys.modules)
optional = {"cupy", "cuda", "pynvml", "jinja2", "triton"}
assert not optional & {name.partition(".")[0] for name in ours}
assert not torch.cuda.is_initialized()

later = {"dask_aesthetic.inputs", "dask_aesthetic.job", "dask_aesthetic.filter"}
assert not later & ours
assert set(dask_aesthetic.__all__) <= set(dir(dask_aesthetic))
assert all(getattr(dask_aesthetic, name).__name__ for name in ("read_npy", "score_dataset", "filter_dataset"))
assert later <= set(sys.modules)
try:
    dask_aesthetic.nothing
except AttributeError as error:
    assert "no attribute 'nothing'" in str(error)

accessor = dask_aesthetic.AestheticAccessor
assert dd.DataFrame.aesthetic is accessor
assert pd.DataFrame.aesthetic is accessor
assert not hasattr(dd.Series, "aesthetic")
assert not hasattr(pd.Series, "aesthetic")
assert len(hooks()) == 1

on_dask, on_pandas = vars(dd.DataFrame)["aesthetic"], vars(pd.DataFrame)["aesthetic"]
from dask_aesthetic.register import register
register()
importlib.reload(dask_aesthetic)
register()
assert vars(dd.DataFrame)["aesthetic"] is on_dask
assert vars(pd.DataFrame)["aesthetic"] is on_pandas
assert len(hooks()) == 1
""")


@pytest.mark.parametrize("first", ["import cudf", "import cudf.core.dataframe", "from cudf.api import extensions"])
def test_cudf_imported_later_is_registered_and_left_as_it_would_be(fresh, first):
    fresh(
        f"""
import dask_aesthetic
{first}
assert_registered()
import cudf
assert type(cudf.__spec__.loader) is type(cudf.__loader__) is importlib.machinery.SourceFileLoader
assert cudf.__spec__.loader is cudf.__loader__
assert inspect.getsource(cudf) == importlib.resources.files("cudf").joinpath("__init__.py").read_text()
dask_aesthetic._register.register()
importlib.reload(dask_aesthetic)
importlib.reload(cudf)
assert_registered()
""",
        CUDF,
    )


def test_cudf_imported_earlier_is_registered(fresh):
    fresh(
        """
import cudf
assert not hasattr(cudf.DataFrame, "aesthetic")
import dask_aesthetic
assert_registered()
importlib.reload(dask_aesthetic)
assert_registered()
""",
        CUDF,
    )


def test_cudf_is_registered_though_its_spec_was_asked_for_and_its_first_import_failed(fresh):
    init = """
import os, sys
if not os.environ.get("DRIVER"):
    raise ImportError("no driver")
"""
    fresh(
        """
import os
import dask_aesthetic
spec = importlib.util.find_spec("cudf")
assert spec.loader.get_filename("cudf") == spec.origin
assert spec.loader.is_package("cudf")
try:
    import cudf
except ImportError as error:
    assert str(error) == "no driver"
else:
    raise AssertionError("the first import was to fail")
assert len(hooks()) == 1
os.environ["DRIVER"] = "here"
importlib.util.find_spec("cudf")
assert_registered()
""",
        {**CUDF, "__init__.py": init + CUDF["__init__.py"]},
    )


def test_an_import_hook_of_the_same_kind_goes_together_with_ours(fresh):
    """Other packages watch imports in the same way, by asking for the spec themselves (wrapt does)."""
    fresh(
        """
import dask_aesthetic

class Watching:
    asked = seen = 0
    def __init__(self, inner):
        self.inner = inner
    def create_module(self, spec):
        return self.inner.create_module(spec)
    def exec_module(self, module):
        self.inner.exec_module(module)
        Watching.seen += 1

class Watch:
    busy = False
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "cudf" or cls.busy:
            return None
        cls.busy = True
        Watching.asked += 1
        try:
            spec = importlib.util.find_spec(name)
        finally:
            cls.busy = False
        spec.loader = Watching(spec.loader)
        return spec

for place in (0, len(sys.meta_path)):
    Watching.asked = Watching.seen = 0
    sys.meta_path.insert(place, Watch)
    assert_registered()
    if place == 0:
        assert Watching.asked == Watching.seen == 1
    sys.meta_path.remove(Watch)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cudf"]:
        del sys.modules[name]
    dask_aesthetic._register.register()
    assert len(hooks()) == 1
""",
        CUDF,
    )


@pytest.mark.parametrize("file", ["__init__.py", pytest.param("readme.txt", marks=NO_CUDF)])
def test_something_else_named_cudf_is_left_alone(fresh, file):
    """Another package, or a mere folder, which a clone of cuDF in the working directory is to Python."""
    fresh(
        """
import dask_aesthetic
import cudf
assert not hasattr(cudf, "DataFrame")
importlib.reload(dask_aesthetic)
assert len(hooks()) == 1
""",
        {file: "version = 1\n"},
    )


def test_cudf_that_may_not_be_imported_is_let_be(fresh):
    fresh("""
sys.modules["cudf"] = None
import dask_aesthetic
try:
    import cudf
except ModuleNotFoundError as error:
    assert error.name == "cudf"
else:
    raise AssertionError("cudf was imported")
""")


@NO_CUDF
def test_a_missing_cudf_is_missing_each_time(fresh):
    fresh("""
import dask_aesthetic
assert importlib.util.find_spec("cudf") is None
for attempt in ("import cudf", "import cudf", "import cudf.core.dataframe"):
    try:
        exec(attempt)
    except ModuleNotFoundError as error:
        assert error.name == "cudf", error.name
        assert str(error) == "No module named 'cudf'", str(error)
    else:
        raise AssertionError("cudf was imported")
    assert len(hooks()) == 1
    assert not [name for name in sys.modules if name.startswith("cudf")]
""")
