"""Which layout lies on disk, and which of its files belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from dask_aesthetic.errors import ArgumentError, ColumnError, InputError
from dask_aesthetic.inputs.file import File
from dask_aesthetic.inputs.files import Found, Source, ending_of, places, shown

FORMATS = ("auto", "parquet", "clip-retrieval", "datacomp", "npy")
CLIP_RETRIEVAL = "img_emb/img_emb_N.npy beside metadata/metadata_N.parquet"
DATACOMP = "<name>.npz beside <name>.parquet"
_TOLD = 10  # Files named in an error.
# Words in the names of matrices, and of the folders that hold them.
_TEXTS, _IMAGES = (re.compile(rf"(?<![a-z])({words})s?(?![a-z])") for words in ("text|txt|caption", "image|img|photo"))
Item = TypeVar("Item")
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Partners:
    """A matrix and the Parquet file of its rows' metadata; `name` is the latter's, without suffix."""

    name: str
    matrix: File
    metadata: File


def choose_format(found: Iterable[Found], source: Source, asked: str) -> str:
    """The layout that is asked for; with "auto" what the names of the files tell.

    Raises
    ------
    ArgumentError
        There is no such layout.
    InputError
        The files are of no known layout, or could be of several.
    """
    if asked not in FORMATS:
        raise ArgumentError.choice("format", asked, FORMATS)
    if asked != "auto":
        return asked
    files = [one for one in found if not one.aside]
    folders = {one.name.partition("/")[0] for one in files if "/" in one.name}
    if {"img_emb", "metadata"} <= folders:
        return "clip-retrieval"
    suffixes = Counter(PurePosixPath(one.name).suffix.lower() for one in files)
    known = {".npz", ".npy", ".parquet"} & suffixes.keys()
    if known == {".npz", ".parquet"}:
        return "datacomp"
    if known == {".npy"}:
        return "npy"
    if known == {".parquet"} or (files and not known and all(one.named for one in files)):
        return "parquet"
    seen = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in suffixes.most_common())
    raise InputError(
        f"expected .parquet, .npy, {CLIP_RETRIEVAL}, or {DATACOMP} in {shown(source)}, got {seen or 'none'}: choose "
        f"with format= one of {', '.join(FORMATS[1:])}"
    )


def clip_retrieval(found: Iterable[Found], source: Source) -> list[Partners]:
    """What clip-retrieval wrote, in the order of its numbers.

    Raises
    ------
    InputError
        There is none, one lacks its partner, or two files have one number.
    """
    files = list(found)
    matrices = _by_number(files, "img_emb", ".npy")
    tables = _by_number(files, "metadata", ".parquet")
    return _pair_up(matrices, tables, source, CLIP_RETRIEVAL)


def datacomp(found: Iterable[Found], source: Source) -> list[Partners]:
    """DataComp's pairs, in the order of their names.

    Raises
    ------
    InputError
        There are none, or one lacks its partner.
    """
    files = sorted((one for one in found if not one.aside), key=lambda one: one.name)
    matrices, tables = (_by_stem(files, suffix) for suffix in (".npz", ".parquet"))
    return _pair_up(matrices, tables, source, DATACOMP)


def of_texts(found: Iterable[Found]) -> list[Found]:
    """Matrices that hold embeddings of texts, by their names, where such of images stand beside them.

    Not among them is a file that was named itself: whoever names it means it.

    Examples
    --------
    >>> from dask_aesthetic.inputs.file import File
    >>> names = ["img_emb/img_emb_0.npy", "text_emb/text_emb_0.npy", "textures.npy"]
    >>> [one.name for one in of_texts(Found(File(name, 0, ""), name, named=False) for name in names)]
    ['text_emb/text_emb_0.npy']
    """
    matrices = [one for one in found if not one.aside and ending_of(one.name, (".npy",))]
    texts = [bool(_TEXTS.search(one.name.lower())) for one in matrices]
    images = [bool(_IMAGES.search(one.name.lower())) for one in matrices]
    if not any(image and not text for text, image in zip(texts, images, strict=True)):
        return []
    return [
        one
        for one, text, image in zip(matrices, texts, images, strict=True)
        if text and not image and (one.matched or not one.named)
    ]


def check_folder(found: Iterable[Found], source: Source) -> None:
    """Refuse what is no folder, for layouts whose files stand beside one another."""
    several = places(source)
    if len(several) != 1:
        raise InputError(f"expected a folder, got {len(several)} of them: read them one by one")
    if any(one.named for one in found):
        raise InputError(f"expected a folder, got {several[0]!r}, which is a file or a glob")


def look_at_all(items: Iterable[Item], look: Callable[[Item], Seen]) -> list[Seen]:
    """What is seen of each file, many at a time.

    Raises
    ------
    InputError
        Of one file as it is; of several files as one that names them.
    ColumnError
        No file is damaged, but one lacks what is asked for.
    """

    def attempt(item: Item) -> Seen | InputError | ColumnError:
        try:
            return look(item)
        except (InputError, ColumnError) as error:
            return error

    with ThreadPoolExecutor(32) as threads:
        seen = list(threads.map(attempt, items))
    wrong = [one for one in seen if isinstance(one, InputError)]
    if len(wrong) == 1:
        raise wrong[0]
    if not wrong:
        for one in seen:
            if isinstance(one, ColumnError):
                raise one
        return [one for one in seen if not isinstance(one, (InputError, ColumnError))]
    more = f"\n  and {len(wrong) - _TOLD:,} more" if len(wrong) > _TOLD else ""
    told = "".join(f"\n  {error}" for error in wrong[:_TOLD])
    raise InputError(f"expected {len(seen):,} whole inputs, got {len(wrong):,} that cannot be read:{told}{more}")


def _by_number(files: Iterable[Found], name: str, suffix: str) -> dict[str, Found]:
    found: dict[int, Found] = {}
    for one in sorted(files, key=lambda one: one.name):
        match = re.fullmatch(rf"{name}/{name}_(\d+){re.escape(suffix)}", one.name, re.IGNORECASE)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            raise InputError(
                f"expected one {name} file of number {number}, got {found[number].file.path} and {one.file.path}"
            )
        found[number] = one
    return {str(number): found[number] for number in sorted(found)}


def _by_stem(files: Iterable[Found], suffix: str) -> dict[str, Found]:
    return {one.name.removesuffix(own): one for one in files if (own := ending_of(one.name, (suffix,)))}


def _pair_up(matrices: dict[str, Found], tables: dict[str, Found], source: Source, layout: str) -> list[Partners]:
    """Files of the same key, in the order of `matrices`."""
    if not matrices and not tables:
        raise InputError(f"expected {layout} in {shown(source)}, got neither")
    alone = [one for key, one in [*matrices.items(), *tables.items()] if key not in matrices or key not in tables]
    if alone:
        names = ", ".join(one.name for one in alone[:3])
        more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise InputError(f"expected {layout} in {shown(source)}, got {names}{more} without its partner")
    return [Partners(tables[key].name[: -len(".parquet")], one.file, tables[key].file) for key, one in matrices.items()]
