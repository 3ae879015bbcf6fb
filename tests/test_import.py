"""Importing the package, each time in a fresh interpreter that raises warnings as errors."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import NamedTuple

import pytest

FRAME = "class DataFrame:\n    _accessors = set()\n"
# The same in pandas, cuDF 26.10 and Dask, but for docstrings and the caches.
EXTENSIONS = """
import warnings

from {module} import DataFrame


class _Accessor:
    def __init__(self, name, accessor):
        self._name = name
        self._accessor = accessor

    def __get__(self, obj, cls):
        return self._accessor if obj is None else self._accessor(obj)


def register_dataframe_accessor(name):
    def decorator(accessor):
        if hasattr(DataFrame, name):
            warnings.warn(f"Attribute {{name}} will be overridden in {{DataFrame.__name__}}")
        DataFrame._accessors.add(name)
        setattr(DataFrame, name, _Accessor(name, accessor))
        return accessor

    return decorator
"""


class Library(NamedTuple):
    """A small package that is laid out like a library of dataframes."""

    name: str
    files: dict[str, str]
    imports: list[str]

    @property
    def init(self) -> str:
        return f"{self.name.replace('.', '/')}/__init__.py"

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def like_pandas(name: str) -> Library:
    files = {
        "__init__.py": f"from {name}.core.dataframe import DataFrame\nfrom {name} import api\n",
        "core/__init__.py": "",
        "core/dataframe.py": FRAME,
        "api/__init__.py": f"from {name}.api import extensions\n",
        "api/extensions.py": EXTENSIONS.format(module=f"{name}.core.dataframe"),
    }
    return Library(
        name,
        {f"{name}/{file}": text for file, text in files.items()},
        [f"import {name}", f"import {name}.core.dataframe", f"from {name}.api import extensions"],
    )


DASK = Library(
    "dask.dataframe",
    {
        "dask/__init__.py": "",
        "dask/dataframe/__init__.py": "from dask.dataframe.core import DataFrame\n",
        "dask/dataframe/core.py": FRAME,
        "dask/dataframe/extensions.py": EXTENSIONS.format(module="dask.dataframe.core"),
    },
    [
        "import dask.dataframe as dd",
        "import dask; hooks(); import dask.dataframe",
        "import dask.dataframe.core",
        "from dask.dataframe.extensions import register_dataframe_accessor",
    ],
)
LIBRARIES = [like_pandas("pandas"), DASK, like_pandas("cudf")]
IMPORTS = [pytest.param(library, first, id=first) for library in LIBRARIES for first in library.imports]
NO_CUDF = pytest.mark.skipif(importlib.util.find_spec("cudf") is not None, reason="cudf is installed")
TOOLS = """
import importlib, importlib.resources, importlib.util, inspect, os, sys

def hooks():
    return [hook for hook in sys.meta_path if type(hook).__module__ == "dask_aesthetic.register" and hook.name == NAME]

def assert_registered():
    library = importlib.import_module(NAME)
    from dask_aesthetic import AestheticAccessor
    assert library.DataFrame.aesthetic is AestheticAccessor
    assert isinstance(library.DataFrame().aesthetic, AestheticAccessor)
    assert hooks() == []
"""


def finish(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.fixture
def fresh(tmp_path):
    """Run code in a fresh interpreter that finds the files of a library first."""

    def run(code: str, library: Library | None = None, files: dict[str, str] | None = None) -> None:
        for name, text in (files or (library.files if library else {})).items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        code = f"NAME = {library.name if library else 'cudf'!r}\n{TOOLS}\n{code}"
        finish(
            subprocess.run(
                [sys.executable, "-P", "-W", "error", "-c", code],
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=120,
            )
        )

    return run


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name)
def library(request) -> Library:
    return request.param


def test_importing_loads_no_library_and_each_gets_the_accessor_when_it_is_imported(fresh):
    fresh("""
import dask_aesthetic

def loaded():
    return {"numba", "torch", "numpy", "pandas", "pyarrow", "dask", "dask.dataframe", "cudf"} & set(sys.modules)

assert loaded() == set()
assert set(dask_aesthetic.__all__) <= set(dir(dask_aesthetic))
assert loaded() == set()

import pandas as pd
accessor = pd.DataFrame.aesthetic
assert pd.DataFrame().aesthetic.__class__ is accessor
assert "aesthetic" in dir(pd.DataFrame())
assert {"torch", "dask"} & loaded() == set()

import dask
assert "dask.dataframe" not in loaded()
import dask.dataframe as dd
assert dd.DataFrame.aesthetic is accessor is dask_aesthetic.AestheticAccessor
ddf = dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1)
assert ddf.aesthetic is ddf.aesthetic
assert not {"numba", "torch"} & loaded()
assert not hasattr(dd.Series, "aesthetic")
assert not hasattr(pd.Series, "aesthetic")
assert [type(hook).__module__ for hook in sys.meta_path].count("dask_aesthetic.register") == 1
assert not {"numba", "torch"} & loaded()
""")


def test_libraries_imported_in_threads_are_registered(fresh):
    fresh("""
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

names = ["pandas", "dask_aesthetic", "dask.dataframe", "dask_aesthetic", "pandas", "dask.dataframe"]
barrier = Barrier(len(names))

def load(name):
    barrier.wait()
    module = importlib.import_module(name)
    return name == "dask_aesthetic" or module.DataFrame

with ThreadPoolExecutor(len(names)) as threads:
    list(threads.map(load, names))
import dask.dataframe as dd, pandas as pd
from dask_aesthetic import AestheticAccessor
assert pd.DataFrame.aesthetic is dd.DataFrame.aesthetic is AestheticAccessor
assert [type(hook).__module__ for hook in sys.meta_path].count("dask_aesthetic.register") == 1
""")


def test_public_names_load_nothing_optional_start_no_cuda_and_registration_happens_once(interpreter):
    finish(
        interpreter.run("""
import importlib, sys
import torch
import dask.dataframe as dd, pandas as pd

before = set(sys.modules)  # Dask imports cupy and jinja2 where they are installed, torch pynvml.
import dask_aesthetic
assert all(getattr(dask_aesthetic, name) is not None for name in dask_aesthetic.__all__)
ours = set(sys.modules) - before
unwanted = {"cudf", "dask_cudf", "dask_cuda", "rmm", "pylibcudf", "numba", "open_clip", "matplotlib", "PIL",
            "webdataset", "huggingface_hub"}
assert not unwanted & set(sys.modules), unwanted & set(sys.modules)
optional = {"cupy", "cuda", "pynvml", "jinja2", "triton"}
assert not optional & {name.partition(".")[0] for name in ours}
assert not torch.cuda.is_initialized()
try:
    dask_aesthetic.nothing
except AttributeError as error:
    assert "no attribute 'nothing'" in str(error)

accessor = dask_aesthetic.AestheticAccessor
assert dd.DataFrame.aesthetic is accessor
assert pd.DataFrame.aesthetic is accessor
on_dask, on_pandas = vars(dd.DataFrame)["aesthetic"], vars(pd.DataFrame)["aesthetic"]
dask_aesthetic.register.register()
importlib.reload(dask_aesthetic)
assert vars(dd.DataFrame)["aesthetic"] is on_dask
assert vars(pd.DataFrame)["aesthetic"] is on_pandas
assert [type(hook).__module__ for hook in sys.meta_path].count("dask_aesthetic.register") == 1
""")
    )


@pytest.mark.parametrize(("library", "first"), IMPORTS)
def test_a_library_imported_later_is_registered_and_left_as_it_would_be(fresh, library, first):
    fresh(
        f"""
import dask_aesthetic
importlib.reload(dask_aesthetic.register)
dask_aesthetic.register.register()
assert len(hooks()) == 1
{first}
assert_registered()
library = importlib.import_module(NAME)
assert type(library.__spec__.loader) is type(library.__loader__) is importlib.machinery.SourceFileLoader
assert library.__spec__.loader is library.__loader__
assert inspect.getsource(library) == importlib.resources.files(NAME).joinpath("__init__.py").read_text()
dask_aesthetic.register.register()
importlib.reload(dask_aesthetic)
importlib.reload(library)
assert_registered()
""",
        library,
    )


def test_a_library_imported_earlier_is_registered(fresh, library):
    fresh(
        """
library = importlib.import_module(NAME)
assert not hasattr(library.DataFrame, "aesthetic")
import dask_aesthetic
assert_registered()
importlib.reload(dask_aesthetic)
assert_registered()
""",
        library,
    )


def test_a_library_is_registered_though_its_spec_was_requested_and_its_first_import_failed(fresh, library):
    init = """
import os
if not os.environ.get("DRIVER"):
    raise ImportError("no driver")
"""
    fresh(
        """
import dask_aesthetic
spec = importlib.util.find_spec(NAME)
assert spec.loader.get_filename(NAME) == spec.origin
assert spec.loader.is_package(NAME)
try:
    importlib.import_module(NAME)
except ImportError as error:
    assert str(error) == "no driver"
else:
    raise AssertionError("the first import was to fail")
assert len(hooks()) == 1
os.environ["DRIVER"] = "here"
importlib.util.find_spec(NAME)
assert_registered()
""",
        library,
        {**library.files, library.init: init + library.files[library.init]},
    )


def test_an_import_hook_of_the_same_kind_works_together_with_ours(fresh, library):
    """Other packages watch imports in the same way, by requesting the spec themselves (wrapt does)."""
    fresh(
        """
import dask_aesthetic

class Watching:
    requested = seen = 0
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
        if name != NAME or cls.busy:
            return None
        cls.busy = True
        Watching.requested += 1
        try:
            spec = importlib.util.find_spec(name)
        finally:
            cls.busy = False
        spec.loader = Watching(spec.loader)
        return spec

for position in (0, len(sys.meta_path)):
    Watching.requested = Watching.seen = 0
    sys.meta_path.insert(position, Watch)
    assert_registered()
    if position == 0:
        assert Watching.requested == Watching.seen == 1
    sys.meta_path.remove(Watch)
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME.partition(".")[0]]:
        del sys.modules[name]
    dask_aesthetic.register.register()
    assert len(hooks()) == 1
""",
        library,
    )


def test_another_package_of_that_name_is_left_alone(fresh, library):
    fresh(
        """
import dask_aesthetic
library = importlib.import_module(NAME)
assert not hasattr(library, "DataFrame")
importlib.reload(dask_aesthetic)
assert len(hooks()) == 1
""",
        library,
        {**library.files, library.init: "version = 1\n"},
    )


@NO_CUDF
def test_a_mere_folder_named_cudf_is_left_alone(fresh):
    """A clone of cuDF in the working directory is a namespace package to Python."""
    fresh(
        """
import dask_aesthetic
import cudf
assert not hasattr(cudf, "DataFrame")
importlib.reload(dask_aesthetic)
assert len(hooks()) == 1
""",
        files={"cudf/readme.txt": ""},
    )


def test_a_library_that_must_not_be_imported_is_left_alone(fresh):
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
def test_a_missing_library_is_missing_each_time(fresh):
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
