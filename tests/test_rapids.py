"""Tests with the real RAPIDS packages that need no GPU, each in a fresh interpreter.

Without a GPU cuDF can be imported and its dtypes made, but no column.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dask_aesthetic import load_predictor

MISSING = [name for name in ("cudf", "dask_cudf", "dask_cuda") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.rapids,
    pytest.mark.skipif(bool(MISSING), reason=f"needs RAPIDS; {', '.join(MISSING)} not installed"),
]
NO_GPU = pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is an NVIDIA GPU")
KINDS = ("list", "object", "object_lists")


@pytest.fixture
def fresh():
    """Run code in a fresh interpreter with warnings as errors."""

    def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "error", "-c", code, *args], capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.mark.parametrize(
    "imports",
    [
        "import dask_aesthetic, cudf",
        "import cudf, dask_aesthetic",
        "import dask_aesthetic, cudf.core.dataframe",
        "import dask_aesthetic, dask_cudf",
        "import dask_cudf, dask_aesthetic",
        "import dask_aesthetic, cudf.pandas",
    ],
)
def test_frames_of_cudf_and_dask_cudf_are_registered_in_any_order_of_imports(fresh, imports):
    done = fresh(f"""
{imports}
import importlib, importlib.resources, inspect, sys
import cudf, dask.dataframe as dd, pandas as pd
accessor = dask_aesthetic.AestheticAccessor

def hooks():
    return [finder for finder in sys.meta_path if type(finder).__module__ == "dask_aesthetic.register"]

assert cudf.DataFrame.aesthetic is accessor
assert pd.DataFrame.aesthetic is accessor
assert hooks() == []

registered = vars(cudf.DataFrame)["aesthetic"]
import dask_aesthetic
importlib.reload(dask_aesthetic)
dask_aesthetic.register.register()
assert vars(cudf.DataFrame)["aesthetic"] is registered
assert "aesthetic" in cudf.DataFrame._accessors
assert hooks() == []

assert type(cudf.__spec__.loader) is type(cudf.__loader__) is importlib.machinery.SourceFileLoader
assert inspect.getsource(cudf) == importlib.resources.files("cudf").joinpath("__init__.py").read_text()
assert importlib.util.find_spec("cudf") is cudf.__spec__

import dask_cudf
assert issubclass(dask_cudf.DataFrame, dd.DataFrame)
assert dask_cudf.DataFrame.aesthetic is accessor
assert dd.DataFrame.aesthetic is accessor
""")
    assert done.stderr == ""


def test_import_loads_nothing_of_rapids(fresh):
    fresh("""
import sys
import dask.dataframe, torch
before = set(sys.modules)  # Dask takes in cupy where it is installed, torch pynvml.
import dask_aesthetic
rapids = {"cudf", "cupy", "dask_cudf", "dask_cuda", "rmm", "pylibcudf", "numba", "cuda", "pynvml"}
assert not rapids & {name.partition(".")[0] for name in set(sys.modules) - before}
assert not {"cudf", "dask_cudf", "dask_cuda", "rmm", "pylibcudf", "numba"} & set(sys.modules)
assert not torch.cuda.is_initialized()
""")


def test_used_names_of_rapids_exist(fresh):
    fresh("""
import inspect
import cudf, cudf.pandas, cupy, dask_cuda, pynvml
from cudf.core.accessors.lists import ListMethods
from cudf.core.column import ColumnBase
import pylibcudf

def takes(what, *names):
    parameters = inspect.signature(what).parameters  # named ones: what goes through **kwargs may be dropped
    assert set(names) <= set(parameters), (what, set(names) - set(parameters))

takes(dask_cuda.LocalCUDACluster.__init__, "n_workers", "threads_per_worker", "rmm_pool_size",
      "rmm_allocator_external_lib_list", "enable_cudf_spill", "kwargs")
takes(cudf.Series.__init__, "data", "index", "name", "dtype", "nan_as_null")
takes(cudf.Series.fillna, "value")
takes(cudf.DataFrame.copy, "deep")
takes(cudf.DataFrame.insert, "loc", "column", "value", "nan_as_null")
assert isinstance(cudf.pandas.LOADED, bool)
takes(cudf.DataFrame.assign, "kwargs")
takes(cudf.api.extensions.register_dataframe_accessor, "name")
takes(cudf.pandas.is_proxy_object, "obj")
takes(cudf.pandas.as_proxy_object, "obj")

for name in ("list", "values", "has_nulls", "index", "dtype", "name"):
    assert isinstance(inspect.getattr_static(cudf.Series, name), property), name
assert isinstance(ListMethods.leaves, property)
assert isinstance(inspect.getattr_static(cudf.Series, "_column"), property)
assert "mode : " in ColumnBase.access.__doc__ and "scope : " in ColumnBase.access.__doc__
assert "plc_column" in ColumnBase.__annotations__
for name in ("null_count", "null_mask", "size", "offset", "data", "type", "list_view"):
    assert callable(getattr(pylibcudf.Column, name)), name
for call in (ListMethods.len, cudf.Series.isna, cudf.Series.fillna, cupy.asarray):
    assert callable(call), call
assert "ListMethods(" in inspect.getsource(inspect.getattr_static(cudf.Series, "list").fget)
assert issubclass(pynvml.NVMLError, Exception)
assert callable(pynvml.nvmlInit) and callable(pynvml.nvmlDeviceGetCount)
""")


def test_the_cudf_backend_has_the_names_and_parameters_of_the_others(fresh):
    fresh("""
import inspect, sys
from dask_aesthetic.embeddings import arrow, cudf, objects
assert "cudf.core" not in sys.modules
for name in ("add_columns", "holds_lists", "runs", "to_categories", "to_series"):
    signatures = [inspect.signature(getattr(backend, name)) for backend in (arrow, cudf, objects)]
    assert len({tuple(one.parameters) for one in signatures}) == 1, signatures
""")


def test_lists_of_numbers_are_recognized_by_cudf_dtypes(fresh):
    fresh("""
import cudf, pandas as pd, pyarrow as pa
from dask_aesthetic.embeddings.cudf import holds_floats, holds_lists, is_flat

class Column(list):
    def __init__(self, dtype, rows):
        super().__init__(range(rows))
        self.dtype = dtype

def arrow(dtype):
    return pd.ArrowDtype(dtype)

lists = cudf.ListDtype
good = [lists("float32"), lists("float64"), lists("Float32"), lists(arrow(pa.float32())),
        lists.from_arrow(pa.list_(pa.float64())),
        arrow(pa.list_(pa.float32())), arrow(pa.list_(pa.float64()))]  # cuDF keeps pandas' Arrow dtypes.
copied = [lists("int64"), lists("uint8"), lists("Int16"), lists(lists("float32")), lists(lists(lists("float64"))),
          arrow(pa.list_(pa.int64())), arrow(pa.list_(pa.list_(pa.float32())))]
bad = [lists("bool"), lists("str"), lists("object"), lists("datetime64[ns]"), lists(lists("str")),
       lists(cudf.StructDtype({"x": "float32"})),
       lists(cudf.Decimal64Dtype(8, 2)), lists.from_arrow(pa.list_(pa.null())),
       arrow(pa.float32()), arrow(pa.string()),
       cudf.StructDtype({"x": lists("float32")}), cudf.CategoricalDtype(),
       cudf.dtype("float32"), cudf.dtype("int64"), cudf.dtype("object"), cudf.dtype("Float64")]
for dtypes, expected in ((good, True), (copied, True), (bad, False)):
    for dtype in dtypes:
        assert holds_lists(Column(dtype, 3)) is expected, dtype
assert all(is_flat(Column(dtype, 3)) for dtype in good) and not any(is_flat(Column(dtype, 3)) for dtype in copied)
assert [holds_floats(Column(dtype, 3)) for dtype in copied] == [False] * 3 + [True] * 2 + [False, True]
assert holds_lists(Column(cudf.dtype("object"), 0))  # As dask-cuDF's meta has lists.
for dtype in good[5:]:
    assert cudf.core.dtype.validators.is_dtype_obj_list(dtype)
""")


def test_arrow_types_of_image_columns_follow_cudf_dtypes(fresh):
    fresh("""
import cudf, pandas as pd, pyarrow as pa
from types import SimpleNamespace
from dask_aesthetic.images.cudf import arrow_type
from dask_aesthetic.images.sources import holds_images

def type_of(dtype):
    return arrow_type(SimpleNamespace(dtype=dtype))

uint8, struct = cudf.ListDtype("uint8"), cudf.StructDtype({"bytes": cudf.ListDtype("uint8"), "path": "str"})
assert type_of(uint8) == pa.list_(pa.uint8()) and type_of(struct).field("bytes").type == pa.list_(pa.uint8())
assert type_of(cudf.ListDtype("str")).value_type == pa.string()
for dtype in (uint8, struct, cudf.ListDtype("str"), pd.StringDtype(), pd.ArrowDtype(pa.string()), cudf.dtype("object")):
    assert holds_images(type_of(dtype)), dtype
assert not holds_images(type_of(cudf.ListDtype("float32")))
assert not holds_images(type_of(cudf.StructDtype({"x": "str"})))
assert type_of(cudf.dtype("float32")) is None and type_of(cudf.CategoricalDtype()) is None
""")


@pytest.fixture(scope="module")
def rows() -> list[np.ndarray | None]:
    """Random rows with one of each kind that cannot be scored."""
    vectors = list(np.random.default_rng(3).standard_normal((12, 768)).astype(np.float32))
    vectors[2] = None
    vectors[5] = vectors[5][:512]
    vectors[7] = np.zeros(768, np.float32)
    vectors[8] = np.where(np.arange(768) == 5, np.nan, vectors[8]).astype(np.float32)
    return vectors


@pytest.mark.parametrize("order", ["earlier", "later"])
def test_cudf_pandas_proxies_score_as_plain_arithmetic_does(fresh, rows, tmp_path, order):
    pd.to_pickle(rows, tmp_path / "rows.pkl")
    install = """
import warnings
import cudf.pandas
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Failed to check cudaDevAttrConcurrentManagedAccess", UserWarning)
    cudf.pandas.install()
"""
    imports = install + "import dask_aesthetic" if order == "earlier" else "import dask_aesthetic" + install
    done = fresh(
        f"""
{imports}
import json, pickle, sys
import numpy as np, pandas as pd, pyarrow as pa
is_proxy = cudf.pandas.is_proxy_object
with open(sys.argv[1], "rb") as file:
    rows = pickle.load(file)

def raised(error, verb, *args, **options):
    try:
        verb(*args, **options)
    except error as caught:
        return caught
    raise AssertionError("nothing was raised")

def worked(kind):
    if kind == "list":
        column = pd.Series(rows, dtype=pd.ArrowDtype(pa.list_(pa.float32())))
    else:
        column = pd.Series([None if row is None else row if kind == "object" else row.tolist() for row in rows])
    frame = pd.DataFrame({{"key": range(len(rows)), "image_embedding": column}})
    frame.index = [f"row{{at}}" for at in range(len(rows))]
    assert is_proxy(frame)
    assert callable(type(frame).as_gpu_object) and callable(type(frame).as_cpu_object)
    scored, kept, status = frame.aesthetic.score(), frame.aesthetic.filter(), frame.aesthetic.status()
    assert is_proxy(scored) and is_proxy(kept) and is_proxy(status)
    assert list(frame.columns) == ["key", "image_embedding"]
    assert scored["aesthetic_score"].dtype == np.float32
    assert "'image_embedding'" in str(raised(dask_aesthetic.ColumnError, frame.aesthetic.score, "key"))
    invalid = raised(dask_aesthetic.InvalidEmbeddingError, frame.aesthetic.score, on_invalid="raise")
    assert (invalid.row, invalid.label, invalid.reason) == (2, "row2", "missing")
    return dict(
        index=scored.index.tolist(), key=scored["key"].tolist(), score=scored["aesthetic_score"].tolist(),
        keep=scored["keep"].tolist(), kept=kept.index.tolist(), status=status.tolist(),
        status_index=status.index.tolist(),
    )

print(json.dumps({{kind: worked(kind) for kind in {KINDS!r}}}))
""",
        str(tmp_path / "rows.pkl"),
    )
    predictor = load_predictor("laion-v2")
    unusable = {2: "missing", 5: "wrong_width", 7: "zero", 8: "not_finite"}
    expected = [
        np.nan if at in unusable else row.astype(float) @ predictor.weight / np.linalg.norm(row) + predictor.bias
        for at, row in enumerate(rows)
    ]
    keep = [bool(score >= 5) for score in expected]
    assert 0 < sum(keep) < len(rows) - len(unusable)
    labels = [f"row{at}" for at in range(len(rows))]
    for got in map(json.loads(done.stdout).get, KINDS):
        np.testing.assert_allclose(got["score"], expected, rtol=0, atol=2e-6)
        assert got["index"] == got["status_index"] == labels
        assert got["key"] == list(range(len(rows)))
        assert got["keep"] == keep
        assert got["kept"] == [label for label, kept in zip(labels, keep, strict=True) if kept]
        assert got["status"] == [unusable.get(at, "ok") for at in range(len(rows))]


@NO_GPU
def test_without_a_gpu_clusters_use_cpu_workers_and_refuse_gpu_workers(fresh):
    done = fresh("""
import sys
from dask_aesthetic import ArgumentError
from dask_aesthetic.cluster import local_cluster
with local_cluster(n_workers=1, dashboard_address=":0") as cluster:
    assert type(cluster).__name__ == "LocalCluster"
    print(cluster.dashboard_link)
try:
    local_cluster("gpu")
except ArgumentError as error:
    assert str(error) == "expected a GPU for device='gpu', got none that NVML and CUDA_VISIBLE_DEVICES show"
else:
    raise AssertionError("there is no GPU")
assert "dask_cuda" not in sys.modules
""")
    link = done.stdout.strip()
    assert done.stderr == f"local cluster: 1 CPU workers: no visible NVIDIA GPU (dashboard {link})\n"
