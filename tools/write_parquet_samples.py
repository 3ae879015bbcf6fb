"""Write small Parquet files of embeddings by many writers: ``python tools/write_parquet_samples.py FOLDER``.

FOLDER, ``tests/data/writers``, gets the files and ``samples.json``, which says who wrote each of them, and how. That
needs an environment with duckdb, polars, datasets, pandas, pyspark (and Java), datafusion and chdb, and is only done
again if a writer changes what it writes. fastparquet has no lists of numbers.

Files hold rows of 8 or 3 random floats; in those called "mixed" a row group in the middle has a null row, the next one
a null among the floats, the next one an empty row and one that is too long, or a null row if lists are of fixed size.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COLUMN = "image_embedding"
ROWS, GROUP = 90, 30  # Rows of a file, and of a row group where a writer lets us say.
VECTOR = 2048  # DuckDB's smallest row group.
TYPES = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}
Writer = Callable[[Path], None]
Samples = Iterator[tuple[str, str, Writer]]  # Name without suffix, how it is written, writer.


def table(width: int, dtype: str = "float32", rows: int = ROWS, few: bool = False, kind: str = "list") -> pa.Table:
    """Keys and rows of random floats; `few` distinct ones if asked for."""
    return _table(list(_floats(width, dtype, rows, few)), dtype, width if kind == "fixed" else None)


def mixed(width: int, dtype: str = "float32", group: int = GROUP, few: bool = False, kind: str = "list") -> pa.Table:
    """Five row groups; the second, third and fourth have rows that are not of the width."""
    rows: list[Any] = _floats(width, dtype, 5 * group, few).tolist()
    rows[group + 7] = None
    rows[2 * group + 5] = [None, *rows[2 * group + 5][1:]]
    if kind == "list":
        rows[3 * group + 3], rows[3 * group + 9] = [], [*rows[3 * group + 9], 1.0]
    else:
        rows[3 * group + 3] = None
    return _table(rows, dtype, width if kind == "fixed" else None)


def _floats(width: int, dtype: str, rows: int, few: bool) -> np.ndarray:
    random = np.random.default_rng(width)
    if few:
        return random.choice(random.standard_normal(3), (rows, width)).astype(dtype)
    return random.standard_normal((rows, width)).astype(dtype)


def _table(rows: list[Any], dtype: str, width: int | None) -> pa.Table:
    lists = pa.list_(TYPES[dtype]) if width is None else pa.list_(TYPES[dtype], width)
    return pa.table({"key": [f"k{at}" for at in range(len(rows))], COLUMN: pa.array(rows, lists)})


def _pandas_files() -> Samples:
    def write(content: pa.Table, **options: Any) -> Writer:
        return lambda file: content.to_pandas(**options).to_parquet(file)

    yield "default-float32-8", "to_parquet of arrays", write(table(8))
    yield "default-float64-3", "to_parquet of arrays", write(table(3, "float64"))
    import pandas as pd

    arrow = {"types_mapper": pd.ArrowDtype}
    yield "arrow-float16-8", "to_parquet of an ArrowDtype", write(table(8, "float16"), **arrow)
    yield "arrow-mixed-float32-3", "to_parquet of an ArrowDtype, in one row group", write(mixed(3), **arrow)


def _pyarrow_files() -> Samples:
    def write(content: pa.Table, **options: Any) -> Writer:
        return lambda file: pq.write_table(content, file, row_group_size=GROUP, data_page_size=512, **options)

    old = {"use_compliant_nested_type": False}
    yield "item-float32-8", "use_compliant_nested_type=False: list.item", write(table(8), **old)
    yield "item-mixed-float32-3", "use_compliant_nested_type=False: list.item", write(mixed(3), **old)
    yield "fixed-mixed-float32-3", "fixed-size lists", write(mixed(3, kind="fixed"))


def _polars_files() -> Samples:
    import polars as pl

    def write(content: pa.Table, **options: Any) -> Writer:
        return lambda file: pl.from_arrow(content).write_parquet(file, **options)

    small = {"row_group_size": GROUP, "data_page_size": 512}
    yield "default-float32-8", "write_parquet of lists", write(table(8))
    yield "array-float32-8", "write_parquet of arrays", write(table(8, kind="fixed"), **small)
    yield "float16-8", "write_parquet of lists", write(table(8, "float16"), **small)
    yield "float64-3", "write_parquet of lists", write(table(3, "float64"), **small)
    yield "few-float32-3", "write_parquet of a few distinct values", write(table(3, few=True), **small)
    for codec in ("uncompressed", "snappy", "lz4", "gzip", "brotli"):
        yield f"{codec}-float32-3", f"write_parquet, {codec}", write(table(3), compression=codec, **small)
    yield "mixed-float32-3", "write_parquet of lists", write(mixed(3), **small)
    yield "array-mixed-float32-3", "write_parquet of arrays", write(mixed(3, kind="fixed"), **small)
    yield (
        "sink-float32-3",
        "sink_parquet",
        lambda file: pl.from_arrow(table(3)).lazy().sink_parquet(file, row_group_size=GROUP),
    )


def _duckdb_files() -> Samples:
    import duckdb

    def write(content: pa.Table, kind: str, options: str = "") -> Writer:
        def run(file: Path) -> None:
            with duckdb.connect(config={"threads": 1}) as connection:
                connection.register("content", content)
                connection.execute(
                    f"copy (select key, {COLUMN}::{kind} as {COLUMN} from content) to '{file}' "  # noqa: S608
                    f"(format parquet{options})"
                )

        return run

    groups = f", row_group_size {VECTOR}"
    yield "default-float32-8", "copy of float[]", write(table(8), "float[]")
    yield "default-float64-3", "copy of double[]", write(table(3, "float64"), "double[]")
    yield "array-float32-8", "copy of float[8]", write(table(8, kind="fixed"), "float[8]")
    yield "v2-float32-8", "copy, parquet_version v2", write(table(8), "float[]", ", parquet_version v2")
    v2 = ", parquet_version v2, codec zstd"
    yield "v2-few-float64-3", "copy of a few distinct values, v2", write(table(3, "float64", few=True), "double[]", v2)
    for codec in ("uncompressed", "zstd", "lz4_raw", "gzip", "brotli"):
        yield f"{codec}-float32-3", f"copy, codec {codec}", write(table(3), "float[]", f", codec {codec}")
    bad = mixed(3, group=VECTOR, few=True)
    yield "mixed-float32-3", "copy, row_group_size 2048", write(bad, "float[]", f"{groups}, codec zstd")
    yield "v2-mixed-float32-3", "copy, row_group_size 2048, v2", write(bad, "float[]", groups + v2)
    rows = pa.concat_tables([table(3)] * (130_000 // ROWS))  # 122,880 of them are a row group, and a page.
    yield "page-float32-3", "copy of more rows than a row group has", write(rows, "float[]", ", codec zstd")
    yield "v2-page-float32-3", "copy of more rows than a row group has, v2", write(rows, "float[]", v2)


def _datasets_files() -> Samples:
    from datasets import Dataset, Features, Sequence, Value

    def write(content: pa.Table, dtype: str, length: int = -1) -> Writer:
        features = Features({"key": Value("string"), COLUMN: Sequence(Value(dtype), length=length)})

        def run(file: Path) -> None:
            rows = Dataset.from_dict(content.to_pydict(), features=features)
            rows.to_parquet(str(file), batch_size=GROUP)

        return run

    yield "length-float32-8", 'Sequence(Value("float32"), length=8)', write(table(8), "float32", 8)
    yield "float32-8", 'Sequence(Value("float32"))', write(table(8), "float32")
    yield "length-float16-3", 'Sequence(Value("float16"), length=3)', write(table(3, "float16"), "float16", 3)
    yield "float64-3", 'Sequence(Value("float64"))', write(table(3, "float64"), "float64")
    yield "mixed-float32-3", 'Sequence(Value("float32"))', write(mixed(3), "float32")


def _spark_files() -> Samples:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import ArrayType, DoubleType, FloatType, StringType, StructField, StructType

    # A file of several row groups and pages though it is small.
    small = {
        "parquet.block.size": 1024,
        "parquet.page.size": 256,
        "parquet.page.size.row.check.min": 10,
        "parquet.block.size.row.check.min": 10,
    }
    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()

    def write(content: pa.Table, legacy: bool = False, **options: Any) -> Writer:
        value = DoubleType() if content.schema.field(COLUMN).type.value_type == pa.float64() else FloatType()
        schema = StructType([StructField("key", StringType()), StructField(COLUMN, ArrayType(value))])
        rows = list(zip(*content.to_pydict().values(), strict=True))

        def run(file: Path) -> None:
            session.conf.set("spark.sql.parquet.writeLegacyFormat", str(legacy).lower())
            with tempfile.TemporaryDirectory() as folder:
                frame = session.createDataFrame(rows, schema).coalesce(1)
                settings = small | {name.replace("_", "."): value for name, value in options.items()}
                frame.write.mode("overwrite").options(**settings).parquet(folder)
                (part,) = Path(folder).glob("*.parquet")
                file.write_bytes(part.read_bytes())

        return run

    yield "default-float32-8", "write.parquet", write(table(8))
    yield "float64-3", "write.parquet", write(table(3, "float64"))
    yield "few-float32-3", "write.parquet of a few distinct values", write(table(3, few=True))
    yield "legacy-float32-8", "spark.sql.parquet.writeLegacyFormat: bag.array", write(table(8), legacy=True)
    yield "legacy-mixed-float32-3", "spark.sql.parquet.writeLegacyFormat: bag.array", write(mixed(3), legacy=True)
    yield "v2-float32-3", "parquet.writer.version v2", write(table(3), parquet_writer_version="v2")
    yield (
        "v2-zstd-mixed-float32-3",
        "parquet.writer.version v2, zstd",
        write(mixed(3), parquet_writer_version="v2", compression="zstd"),
    )
    yield "gzip-float32-3", "gzip", write(table(3), compression="gzip")
    yield "lz4-float32-3", "lz4, of Hadoop's frames", write(table(3), compression="lz4")
    yield "mixed-float32-3", "write.parquet", write(mixed(3))


def _datafusion_files() -> Samples:
    import datafusion

    def write(content: pa.Table, **options: Any) -> Writer:
        def run(file: Path) -> None:
            context = datafusion.SessionContext()
            context.from_arrow(content, "content")
            settings = {"max_row_group_size": GROUP, "data_page_row_count_limit": 16, "write_batch_size": 16} | options
            given = ", ".join(f"'{name}' '{value}'" for name, value in settings.items())
            context.sql(f"copy content to '{file}' stored as parquet options ({given})").collect()

        return run

    yield "default-float32-8", "copy", write(table(8))
    yield "float16-3", "copy", write(table(3, "float16"))
    yield "v2-snappy-float32-3", "copy, writer_version 2.0", write(table(3), writer_version="2.0", compression="snappy")
    yield "mixed-float32-3", "copy", write(mixed(3))


def _clickhouse_files() -> Samples:
    import chdb

    def write(content: pa.Table) -> Writer:
        def run(file: Path) -> None:
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / "source.parquet"
                pq.write_table(content, source)
                chdb.query(
                    f"select key, {COLUMN} from file('{source}') into outfile '{file}' truncate format Parquet "  # noqa: S608
                    f"settings output_format_parquet_row_group_size={GROUP}, output_format_parquet_data_page_size=512, "
                    "output_format_parquet_write_bloom_filter=0"
                )

        return run

    yield "default-float32-8", "into outfile", write(table(8))
    yield "float64-3", "into outfile", write(table(3, "float64"))


def _parquet_java_files() -> Samples:
    """Lists as Hive, Avro and Protocol Buffers lay them out, by the Java library that they use."""
    from pyspark.sql import SparkSession

    java = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()._jvm

    def write(field: str, *path: str) -> Writer:
        def run(file: Path) -> None:
            schema = java.org.apache.parquet.schema.MessageTypeParser.parseMessageType(
                f"message m {{ required binary key (STRING); {field} }}"
            )
            with tempfile.TemporaryDirectory() as folder:
                part = Path(folder) / "part"
                place = java.org.apache.hadoop.fs.Path(str(part))
                builder = java.org.apache.parquet.hadoop.example.ExampleParquetWriter.builder(place)
                builder = builder.withType(schema).withPageSize(512).withMinRowCountForPageSizeCheck(10)
                writer = builder.withRowGroupSize(1024).build()
                for row in table(3, "float64").to_pylist():
                    record = java.org.apache.parquet.example.data.simple.SimpleGroup(schema)
                    record.add("key", row["key"])
                    lists = record.addGroup(path[0]) if len(path) > 1 else record
                    for value in row[COLUMN]:
                        (lists.addGroup(path[1]) if len(path) > 2 else lists).add(path[-1], value)
                    writer.write(record)
                writer.close()
                file.write_bytes(part.read_bytes())

        return run

    hive = f"optional group {COLUMN} (LIST) {{ repeated group bag {{ optional double array_element; }} }}"
    yield "hive-float64-3", "Hive's schema: bag.array_element", write(hive, COLUMN, "bag", "array_element")
    avro = f"required group {COLUMN} (LIST) {{ repeated double array; }}"
    yield "avro-float64-3", "Avro's schema, of two levels: array", write(avro, COLUMN, "array")
    optional = avro.replace("required", "optional")
    yield "avro-optional-float64-3", "Avro's schema of a column with nulls", write(optional, COLUMN, "array")
    bare = f"repeated double {COLUMN};"
    yield "protobuf-float64-3", "Protocol Buffers' schema: a repeated field", write(bare, COLUMN)


WRITERS = {
    "pandas": (_pandas_files, "pandas"),
    "pyarrow": (_pyarrow_files, "pyarrow"),
    "polars": (_polars_files, "polars"),
    "duckdb": (_duckdb_files, "duckdb"),
    "datasets": (_datasets_files, "datasets"),
    "spark": (_spark_files, "pyspark"),
    "datafusion": (_datafusion_files, "datafusion"),
    "clickhouse": (_clickhouse_files, "chdb"),
    "parquet-java": (_parquet_java_files, "pyspark"),
}


def main(folder: Path) -> None:
    """Write all files and their list."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = {}
    for writer, (files, package) in WRITERS.items():
        for name, how, write in files():
            file = folder / f"{writer}-{name}.parquet"
            write(file.resolve())
            samples[file.name] = {"writer": f"{package} {version(package)}", "how": how}
    (folder / "samples.json").write_text(json.dumps(samples, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
