"""Output folder of a job, local or behind an fsspec URL, in which a file is whole or absent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast
from uuid import uuid4

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from dask_aesthetic.atomic import replace_durably
from dask_aesthetic.errors import ArgumentError, InputError, first_line
from dask_aesthetic.io.storage import escape_undecodable, is_utf8
from dask_aesthetic.validation import check_options

JOB_FOLDER = "_dask_aesthetic"  # Markers and settings. Readers of Parquet folders skip such names.
TEMPORARY = ".dask-aesthetic-"


@dataclass(frozen=True)
class Store:
    """Folder whose files appear as wholes, under names relative to it.

    Attributes
    ----------
    url : str
        An absolute path, or a URL.
    options : mapping
        Storage options of fsspec; they may hold secrets, so they are neither compared nor printed.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, url: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Store:
        """Store of a path or URL.

        Raises
        ------
        ArgumentError, InputError
            It is no path, or a file is in its way.
        """
        check_options("output_options", options)
        if not isinstance(url, str | os.PathLike) or isinstance(os.fspath(url), bytes):
            raise ArgumentError(f"expected an output folder or URL, got {url!r}")
        if not os.fspath(url):
            raise ArgumentError("expected an output folder or URL, got an empty text: '.' is the working folder")
        if not is_utf8(os.fspath(url)):
            name = escape_undecodable(os.fspath(url))
            raise ArgumentError(f"expected an output folder with a name in UTF-8, got {name}: choose another name")
        try:
            fs, path = url_to_fs(os.fspath(url), **(options or {}))
        except (ValueError, ImportError) as error:
            raise ArgumentError(f"expected an output folder or URL, got {url!r}: {first_line(error)}") from error
        if isinstance(fs, LocalFileSystem):
            path = os.path.abspath(path)
            file = next((one for one in (Path(path), *Path(path).parents) if os.path.lexists(one)), None)
            if file is not None and not file.is_dir():
                raise InputError(f"expected a folder to write to, got the file {file}: choose another name")
            return cls(path)
        return cls(fs.unstrip_protocol(path), dict(options or {}))

    @property
    def folder(self) -> Path | None:
        """Local folder, None behind a URL."""
        return None if "://" in self.url else Path(self.url)

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """Local path to write to before `place`; a file left there is removed."""
        if self.folder is not None:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path = target.with_name(f"{TEMPORARY}{uuid4().hex}")
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)
        else:
            with TemporaryDirectory(prefix=TEMPORARY) as folder:
                yield Path(folder) / "file"

    def place(self, temporary: Path, name: str) -> dict[str, Any]:
        """Size and sha256 of a file after its durable rename."""
        with temporary.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            size = os.fstat(stream.fileno()).st_size
        if self.folder is not None:
            replace_durably(temporary, self.folder / name)
        else:
            fs, root = self._remote()
            fs.put_file(str(temporary), f"{root}/{name}")
        return {"bytes": size, "sha256": sha256}

    def write(self, name: str, content: bytes) -> None:
        """Write a small file durably."""
        if self.folder is None:
            fs, root = self._remote()
            fs.pipe_file(f"{root}/{name}", content)
            return
        with self.temporary(name) as path:
            path.write_bytes(content)
            self.place(path, name)

    def read(self, name: str) -> bytes | None:
        """Content of a file, None if it is absent."""
        try:
            if self.folder is not None:
                return (self.folder / name).read_bytes()
            fs, root = self._remote()
            return cast(bytes, fs.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None

    def open(self, name: str) -> IO[bytes]:
        """Binary stream of a file, with seek."""
        if self.folder is not None:
            return (self.folder / name).open("rb")
        fs, root = self._remote()
        return cast("IO[bytes]", fs.open(f"{root}/{name}", "rb"))

    def sha256(self, name: str) -> str:
        """sha256 of the content of a file."""
        with self.open(name) as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def sizes(self) -> dict[str, int]:
        """Sizes of all files by name, without temporary ones."""
        if self.folder is not None:
            return {
                path.relative_to(self.folder).as_posix(): path.stat().st_size
                for path in self.folder.rglob("*")
                if not path.name.startswith(TEMPORARY) and path.is_file()
            }
        fs, root = self._remote()
        fs.invalidate_cache()
        try:
            found = fs.find(root, detail=True)
        except FileNotFoundError:
            return {}
        return {path[len(root) + 1 :]: int(info["size"]) for path, info in found.items()}

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with suppress(FileNotFoundError):
            if self.folder is not None:
                (self.folder / name).unlink()
            else:
                fs, root = self._remote()
                fs.rm_file(f"{root}/{name}")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Lock the folder against other runs on this machine and on shared disks with locks.

        Raises
        ------
        InputError
            Another run holds it.

        Notes
        -----
        Object stores have no locks. There two runs of the same settings write the same bytes.
        """
        if self.folder is None:
            yield
            return
        (self.folder / JOB_FOLDER).mkdir(parents=True, exist_ok=True)
        with (self.folder / JOB_FOLDER / "lock").open("a") as stream:
            _lock(stream, self.url)
            self._clean()
            yield
            self._clean()

    def _clean(self) -> None:
        """Remove temporary files of killed runs and workers; no other run may be writing."""
        for path in self.folder.rglob(f"{TEMPORARY}*") if self.folder else []:
            path.unlink(missing_ok=True)

    def _remote(self) -> tuple[Any, str]:
        fs, root = url_to_fs(self.url, **self.options)
        return fs, root.rstrip("/")


def _lock(stream: IO[str], url: str) -> None:
    try:
        import fcntl
    except ImportError:  # Not on Windows.
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"expected to be the only run that writes to {url}, got another one at work there: wait for it or stop it"
        ) from error
    except OSError:  # A disk without locks; files still appear as wholes.
        return
