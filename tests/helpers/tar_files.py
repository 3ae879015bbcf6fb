"""Tars for the tests: samples, and hostile members."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

BLOCK = tarfile.BLOCKSIZE
Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", **header) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in header.items():
        setattr(info, field, value)
    return info, data


def write(path: Path, *members: Member, packed: bool = False, kind: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    content = buffer.getvalue()
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def samples(count: int, first: int = 0, shard: str = "", size: int = 2000) -> list[Member]:
    """Members of samples: bytes in place of images, captions and JSON, of different sizes."""
    made = []
    for at in range(first, first + count):
        key = f"{shard}{at:05d}"
        made += [
            member(f"{key}.jpg", bytes([at % 256]) * (size + at), mtime=1_600_000_000 + at + 0.25, mode=0o640),
            member(f"{key}.txt", f"caption of {key}".encode(), uname="someone", uid=1000 + at),
            member(f"{key}.json", f'{{"key": "{key}", "width": {at}}}'.encode()),
        ]
    return made


def content(path: Path) -> dict[str, bytes]:
    """Members by name, as Python's own reader of tars gives them."""
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def hostile(trap: Path) -> list[tuple[Member, str]]:
    """Members, and the status that each must get in a row of its own."""
    link = {"linkname": "/etc/passwd"}
    return [
        (member("../outside.jpg", b"x"), "unsafe_name"),
        (member("a/../../outside.jpg", b"x"), "unsafe_name"),
        (member("..\\outside.jpg", b"x"), "unsafe_name"),
        (member("/absolute.jpg", b"x"), "unsafe_name"),
        (member("C:\\windows.jpg", b"x"), "unsafe_name"),
        (member("\\\\server\\share.jpg", b"x"), "unsafe_name"),
        (member("new\nline.jpg", b"x"), "unsafe_name"),
        (member("bell\x07.jpg", b"x"), "unsafe_name"),
        (member("half \udcff\udc80.jpg", b"x"), "unsafe_name"),
        (member("../folder", type=tarfile.DIRTYPE), "unsafe_name"),
        (member("../" * 50 + "long" * 60 + ".jpg", b"x"), "unsafe_name"),
        (member("a/" * 200_000 + "b.jpg", b"x"), "unsafe_name"),
        (member("symbolic.jpg", type=tarfile.SYMTYPE, **link), "not_a_file"),
        (member("hard.jpg", type=tarfile.LNKTYPE, **link), "not_a_file"),
        (member("device.jpg", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "not_a_file"),
        (member("disk.jpg", type=tarfile.BLKTYPE, devmajor=8), "not_a_file"),
        (member("pipe.jpg", type=tarfile.FIFOTYPE), "not_a_file"),
        (member("unknown.jpg", b"x", type=b"Z"), "not_a_file"),
        (member("README", b"x"), "no_key"),
        (member(".hidden", b"x"), "no_key"),
        (member("._000.jpg", b"x"), "no_key"),
        (member("__index__", b"x"), "no_key"),
        (member("__meta__/a.jpg", pickle.dumps(Bomb(trap))), "no_key"),
    ]
