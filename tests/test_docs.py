"""Blocks of the documentation run, links inside it lead somewhere, and the reference has all that is public."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

import dask_aesthetic
from dask_aesthetic.synthetic import synthetic_embeddings, write_demo
from helpers import sources, tar_files
from helpers.commands import run

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "generated"} & set(path.parts)
)

BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^\n]+) -->\n+)?"
    r"^ *(?P<fence>`{3,})(?P<language>[^\n]*)\n(?P<code>.*?)^ *(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
RUN = {"python", "console"}
# Layouts, scripts of schedulers, directives of Sphinx, configuration.
OTHER = {"", "bash", "text", "toml", "bibtex", "{toctree}", "{include}", "{figure}"}


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    code: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, at.start("code")), at["language"], dedent(at["code"]), at["reason"])
        for at in BLOCK.finditer(text)
    ]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


RUNNING = [page for page in PAGES if any(block.language in RUN and not block.reason for block in blocks(page))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the data that the pages name."""
    # Headless, and no window for a plot.
    mpl.use("agg")
    write_demo(tmp_path / "embeddings", rows=2_000)
    matrix = synthetic_embeddings(20)
    keys = pd.read_parquet(tmp_path / "embeddings", columns=["key"])["key"]
    made = ("clip/img_emb", "clip/text_emb", "clip/metadata", "datacomp", "matrices", "pairs", "tensors", "quantized")
    for place in made:
        (tmp_path / place).mkdir(parents=True)
    texts = (0.3 * matrix + np.random.default_rng(0).normal(0, 768**-0.5, matrix.shape)).astype(np.float32)
    pairs = pd.DataFrame({"key": keys[:20], "image_embedding": list(matrix), "text_embedding": list(texts)})
    pairs.to_parquet(tmp_path / "pairs/0.parquet")
    np.save(tmp_path / "clip/img_emb/img_emb_0.npy", matrix)
    np.save(tmp_path / "clip/text_emb/text_emb_0.npy", texts)
    pd.DataFrame({"key": keys[:20]}).to_parquet(tmp_path / "clip/metadata/metadata_0.parquet")
    np.savez(tmp_path / "datacomp/00.npz", l14_img=matrix.astype(np.float16), l14_txt=texts.astype(np.float16))
    pd.DataFrame({"uid": keys[:20]}).to_parquet(tmp_path / "datacomp/00.parquet")
    np.save(tmp_path / "matrices/a.npy", matrix)
    sources.write_safetensors(tmp_path / "tensors", matrix, texts=torch.from_numpy(matrix.copy()))
    sources.write_saved(tmp_path / "saved", sources.lists(matrix))
    np.save(tmp_path / "quantized/a.npy", (np.clip(matrix * 1000, -127, 127) + 128).astype(np.uint8))
    samples = [
        member
        for key in keys
        for member in (tar_files.member(f"{key}.jpg", b"x"), tar_files.member(f"{key}.json", b"{}"))
    ]
    tar_files.write(tmp_path / "cc3m/00000.tar", *samples)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def console(block: Block) -> None:
    for line in block.code.replace("\\\n", "").splitlines():
        assert line.startswith("$ dask-aesthetic "), f"a command that is not run must say why: {line}"
        ended = run(*shlex.split(line, comments=True)[2:])
        assert ended.status == 0, (line, ended)


def run_blocks(page: Path) -> None:
    if "cc3m-scores" in page.read_text():
        dask_aesthetic.score_dataset("embeddings", "cc3m-scores")  # In place of a job on images, which needs weights.
    names = {"__name__": "__main__"}
    for block in blocks(page):
        if block.reason or block.language not in RUN:
            continue
        if block.language == "console":
            console(block)
        else:
            # Lines as in the page, so that a traceback names them.
            code = compile("\n" * block.line + block.code, str(page), "exec")
            exec(code, names)  # noqa: S102


@pytest.mark.parametrize("page", RUNNING, ids=name)
@pytest.mark.filterwarnings("ignore::dask_aesthetic.errors.AestheticWarning")
def test_blocks_run(page, folder, capsys):
    run_blocks(page)


@pytest.mark.filterwarnings("ignore::dask_aesthetic.errors.AestheticWarning")
def test_pages_run_one_after_another_in_one_folder(folder, capsys):
    guide = ROOT / "docs/guide/index.md"
    listed = re.search(r"^```{toctree}\n(.+?)^```", guide.read_text(), re.MULTILINE | re.DOTALL)
    pages = [ROOT / "README.md", ROOT / "docs/index.md", ROOT / "docs/quickstart.md", guide]
    for page in [*pages, *(guide.with_name(f"{entry}.md") for entry in listed[1].split())]:
        run_blocks(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_have_a_known_language(page):
    assert {block.language.split(" ")[0] for block in blocks(page)} <= RUN | OTHER
    assert len(re.findall(r"^ *<!-- not run: ", page.read_text(), re.MULTILINE)) == sum(
        bool(block.reason) for block in blocks(page)
    )


def anchors(page: Path) -> set[str]:
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_inside_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


def test_the_reference_has_everything_that_is_public():
    listed = re.findall(r"^   ([A-Za-z_.]+)$", (ROOT / "docs/api.rst").read_text(), re.MULTILINE)
    methods = {f"AestheticAccessor.{name}" for name in dir(dask_aesthetic.AestheticAccessor) if name[0] != "_"}
    assert {*dask_aesthetic.__all__, *methods} - {"__version__", "AestheticAccessor"} <= set(listed)
    assert len(set(listed)) == len(listed)
