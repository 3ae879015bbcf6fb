"""Predictors from a hub: a server on 127.0.0.1 that answers as huggingface.co does, or fails as networks do."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from dask_aesthetic.predictors.catalog import REVISIONS
from helpers.hub_server import REVISION, Answer, serving

DEFAULT = "ttj/sac-logos-ava1-l14-linearMSE"
PAGE = b"<!DOCTYPE html>\n<html><body>Please sign in to the network of this hotel</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 3714759\n"

# huggingface_hub reads its settings when it is imported, so each set of settings has its own process.
CLIENT = """
import json, sys
import numpy as np, torch
from dask_aesthetic import load_predictor

vectors = torch.from_numpy(np.load(sys.argv[1]))
for line in sys.stdin:
    try:
        predictor = load_predictor(**json.loads(line))
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    else:
        answer = {"info": vars(predictor.info), "scores": predictor.score(vectors)[0].tolist()}
    print(json.dumps(answer), flush=True)
"""


class Client:
    """A process that loads predictors one after the other, with warnings as errors."""

    def __init__(self, url: str, home: Path, vectors: Path, **settings: str):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
        hub = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        self.errors = home.with_suffix(".stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CLIENT, str(vectors)],
            env=kept | hub | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, predictor: str, **arguments) -> None:
        self.process.stdin.write(json.dumps({"predictor": predictor, **arguments}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise AssertionError(f"the process ended: {self.errors.read()}")
        return json.loads(line)

    def load(self, predictor: str, **arguments) -> dict:
        self.ask(predictor, **arguments)
        return self.answer()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


@contextmanager
def client(*args, **settings):
    it = Client(*args, **settings)
    try:
        yield it
    finally:
        it.close()


@pytest.fixture(scope="module")
def hub():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory, vectors) -> Path:
    path = tmp_path_factory.mktemp("hub")
    np.save(path / "vectors.npy", vectors)
    return path


@pytest.fixture(scope="module")
def home(folder) -> Path:
    """The cache that `online` fills."""
    return folder / "home"


@pytest.fixture(scope="module")
def online(hub, home, folder):
    with client(hub.url, home, folder / "vectors.npy") as it:
        yield it


@pytest.fixture(scope="module", autouse=True)
def unreachable(folder):
    """Clients of a failing hub and of a closed port, asked early, since they retry for half a minute."""
    with serving() as server, socket.socket() as closed:
        server.answers["down/head"] = Answer(status=500)
        closed.bind(("127.0.0.1", 0))  # Bound and not listening: connections are refused.
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with (
            client(server.url, folder / "down", folder / "vectors.npy") as down,
            client(nowhere, folder / "refused", folder / "vectors.npy") as refused,
        ):
            down.ask(f"down/head@{REVISION}")
            refused.ask(f"refused/head@{REVISION}")
            yield server, down, refused


@pytest.fixture(scope="module")
def good(vectors) -> tuple[bytes, np.ndarray]:
    """A head as a safetensors file, and the scores it gives the vectors."""
    rng = np.random.default_rng(5)
    weight, bias = rng.standard_normal((1, 768)).astype(np.float32), np.array([5.5], np.float32)
    x = vectors.astype(np.float64)
    expected = (x @ weight[0].astype(np.float64)) / np.linalg.norm(x, axis=1) + 5.5
    return save({"weight": weight, "bias": bias}), expected


def assert_scores(answer: dict, expected: np.ndarray) -> None:
    assert "scores" in answer, answer
    assert np.abs(np.array(answer["scores"]) - expected).max() <= 2e-6


def assert_refused(answer: dict, message: str) -> None:
    assert answer.get("error") == "PredictorError", answer
    assert "\n" not in answer["message"]
    assert re.search(message, answer["message"]), answer["message"]


def blob(home: Path, repo: str) -> Path:
    """The one file that the cache holds of a repository."""
    (path,) = (home / "hub" / f"models--{repo.replace('/', '--')}" / "blobs").iterdir()
    return path


def flip_last_byte(path: Path) -> None:
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_an_id_with_a_revision_is_downloaded_once_and_scores_right(hub, online, good):
    body, expected = good
    hub.answers["someone/head"] = Answer(body)
    asked = len(hub.requests)
    answer = online.load(f"someone/head@{REVISION}")
    assert_scores(answer, expected)
    path = f"/someone/head/resolve/{REVISION}/model.safetensors"
    assert hub.requests[asked:] == [f"HEAD {path}", f"GET {path}"]
    assert answer["info"]["source"] == "https://huggingface.co/someone/head"
    assert answer["info"]["revision"] == REVISION
    assert answer["info"]["sha256"] == hashlib.sha256(body).hexdigest()
    assert_scores(online.load(f"someone/head@{REVISION}"), expected)
    assert len(hub.requests) == asked + 2


def test_a_given_sha256_is_compared_with_the_download(hub, online, good):
    body, expected = good
    hub.answers["someone/asked"] = Answer(body)
    sha256 = hashlib.sha256(body).hexdigest()
    assert_scores(online.load(f"someone/asked@{REVISION}", sha256=sha256), expected)
    assert_refused(online.load(f"someone/asked@{REVISION}", sha256="0" * 64), f"expected sha256 0{{64}} .*got {sha256}")


def test_the_default_head_needs_no_revision_and_is_recognized_by_its_weights(hub, online, shared, vectors):
    import torch

    hub.answers[DEFAULT] = Answer((shared / "weights" / DEFAULT / "model.safetensors").read_bytes())
    asked = len(hub.requests)
    answer = online.load(DEFAULT)
    path = f"/{DEFAULT}/resolve/{REVISIONS[DEFAULT]}/model.safetensors"
    assert hub.requests[asked:] == [f"HEAD {path}", f"GET {path}"]
    assert answer["info"]["name"] == "laion-v2"
    published = torch.load(shared / "weights/sac+logos+ava1-l14-linearMSE.pth", "cpu", weights_only=True)
    x = vectors.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for at in (0, 2, 4, 6, 7):
        x = x @ published[f"layers.{at}.weight"].double().numpy().T + published[f"layers.{at}.bias"].double().numpy()
    assert_scores(answer, x[:, 0])


def test_offline_the_cache_is_used_without_a_request(hub, online, home, folder, good):
    body, expected = good
    hub.answers["someone/cached"] = Answer(body)
    assert_scores(online.load(f"someone/cached@{REVISION}"), expected)
    asked = len(hub.requests)
    with client(hub.url, home, folder / "vectors.npy", HF_HUB_OFFLINE="1") as offline:
        assert_scores(offline.load(f"someone/cached@{REVISION}"), expected)
        absent = "model.safetensors of someone/absent at 0123.*offline mode is enabled"
        assert_refused(offline.load(f"someone/absent@{REVISION}"), f"{absent}.*set HF_HOME to a cache")
    assert len(hub.requests) == asked


@pytest.mark.parametrize("revision", ["", "@main", "@v1.0", "@refs/pr/1", f"@{REVISION[:12]}", f"@{REVISION}0"])
def test_incomplete_revisions_are_refused_without_a_request(hub, online, good, revision):
    hub.answers["someone/loose"] = Answer(good[0])
    asked = len(hub.requests)
    given = revision[1:] or "none"
    assert_refused(online.load(f"someone/loose{revision}"), f"someone/loose@<40 hex digits>, got {given}: a branch or")
    assert len(hub.requests) == asked


@pytest.mark.parametrize("repo", ["some--one/head", "someone/head.git", "someone/" + "h" * 100, "-someone/head"])
def test_invalid_repository_names_are_refused_without_a_request(hub, online, repo):
    asked = len(hub.requests)
    assert_refused(online.load(f"{repo}@{REVISION}"), f"{repo} at 0123.*got: .*[Rr]epo")
    assert len(hub.requests) == asked


def test_an_altered_cache_is_refused_until_its_file_is_deleted(hub, online, home, good):
    body, expected = good
    hub.answers["someone/altered"] = Answer(body)
    assert_scores(online.load(f"someone/altered@{REVISION}"), expected)
    flip_last_byte(blob(home, "someone/altered"))
    for _ in range(2):
        answer = online.load(f"someone/altered@{REVISION}")
        assert_refused(answer, f"someone/altered with sha256 {hashlib.sha256(body).hexdigest()}, got another content")
    Path(re.search("content in (.+): delete it and try again", answer["message"])[1]).unlink()
    assert_scores(online.load(f"someone/altered@{REVISION}"), expected)


def test_a_cache_with_shared_blobs_is_read_and_checked(hub, online, home, good):
    """huggingface_hub 2 keeps what comes by Xet in such a store, under Xet's own hash."""
    body, expected = good
    hub.answers["someone/xet"] = Answer(body)
    assert_scores(online.load(f"someone/xet@{REVISION}"), expected)
    link = blob(home, "someone/xet")
    stored = home / "hub/blobs/c0" / ("c0ffee00" * 8)
    stored.parent.mkdir(parents=True)
    link.rename(stored)
    link.symlink_to(os.path.relpath(stored, link.parent))
    assert_scores(online.load(f"someone/xet@{REVISION}"), expected)
    flip_last_byte(stored)
    assert_refused(online.load(f"someone/xet@{REVISION}"), "someone/xet with sha256")


def test_a_cache_without_symbolic_links_is_read(hub, online, home, folder, good):
    body, expected = good
    hub.answers["someone/copied"] = Answer(body)
    assert_scores(online.load(f"someone/copied@{REVISION}"), expected)
    kept = home / "hub/models--someone--copied/snapshots"
    shutil.copytree(kept, folder / "snapshots")
    shutil.rmtree(kept.parent)
    shutil.move(folder / "snapshots", kept)
    assert_scores(online.load(f"someone/copied@{REVISION}"), expected)


@pytest.mark.parametrize(
    ("kind", "answer", "message"),
    [
        ("portal", Answer(PAGE, is_hub=False), "model.safetensors of bad/portal at 0123.*from the hub or its cache"),
        ("page", Answer(PAGE, large=False), "bad--page.*got an HTML page"),
        ("pointer", Answer(POINTER, large=False), "bad--pointer.*got a git-lfs pointer"),
        ("json", Answer(b'{"error": "' + b"no " * 400 + b'"}', large=False), "bad--json.*got a JSON document"),
        ("file", Answer(status=404, code="EntryNotFound"), "in bad/file at 0123.*got: Entry Not Found"),
        ("commit", Answer(status=404, code="RevisionNotFound"), "in bad/commit at 0123.*got: Revision Not Found"),
        ("repo", Answer(status=401, code="RepoNotFound"), "in bad/repo at 0123.*got: Repository Not Found"),
        ("gated", Answer(status=403, code="GatedRepo"), "in bad/gated at 0123.*got: Cannot access gated repo"),
        ("mirror", Answer(status=404, is_hub=False), "model.safetensors of bad/mirror at 0123.*404"),
    ],
)
def test_answers_without_a_checkpoint_are_refused_and_not_cached(hub, online, good, kind, answer, message):
    repo = f"bad/{kind}"
    hub.answers[repo] = answer
    for _ in range(2):
        assert_refused(online.load(f"{repo}@{REVISION}"), message)
    hub.answers[repo] = Answer(good[0])
    assert_scores(online.load(f"{repo}@{REVISION}"), good[1])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("half", "Consistency check failed"),
        ("altered", "sha256 [0-9a-f]{64}, got another content.*: try again$"),
        ("cut", "of broken/cut at 0123.*got: .+"),
        ("reset", "of broken/reset at 0123.*got: .+"),
        ("failing", "in broken/failing at 0123.*got: .*500"),
        ("another", f"expected broken/another at {REVISION}, got f{{40}} from the hub"),
    ],
)
def test_broken_downloads_are_refused_and_not_cached(hub, online, good, kind, message):
    body, expected = good
    repo = f"broken/{kind}"
    hub.answers[repo] = {
        "half": Answer(body, sent=body[: len(body) // 2]),
        "altered": Answer(body, sent=body[:-1] + bytes([body[-1] ^ 1])),
        "cut": Answer(body, cut="close"),
        "reset": Answer(body, cut="reset"),
        "failing": Answer(body, get_status=500),
        "another": Answer(body, commit="f" * 40),
    }[kind]
    assert_refused(online.load(f"{repo}@{REVISION}"), message)
    hub.answers[repo] = Answer(body)
    assert_scores(online.load(f"{repo}@{REVISION}"), expected)


def test_an_html_page_instead_of_the_file_is_refused_and_not_cached(hub, online, good):
    """huggingface_hub before 1.0 resumes after the page's bytes once, which gives a file of another sha256."""
    body, expected = good
    hub.answers["broken/page"] = Answer(body, sent=PAGE)
    assert_refused(online.load(f"broken/page@{REVISION}"), "of broken/page at 0123.*Consistency check failed")
    hub.answers["broken/page"] = Answer(body)
    answers = [online.load(f"broken/page@{REVISION}") for _ in range(2)]
    if "error" in answers[0]:
        assert_refused(answers[0], "broken/page with sha256 .*got another content")
    assert_scores(answers[1], expected)


def test_a_failing_hub_is_refused_with_a_remedy_and_retried_later(unreachable, good):
    server, down, _ = unreachable
    assert_refused(down.answer(), "of down/head at 0123.* from the hub or its cache, got: .*500.*set HF_HOME")
    server.answers["down/head"] = Answer(good[0])
    assert_scores(down.load(f"down/head@{REVISION}"), good[1])


def test_a_refused_connection_is_refused_with_a_remedy(unreachable):
    *_, refused = unreachable
    assert_refused(refused.answer(), "of refused/head at 0123.* hub or its cache, got: .*[Rr]efused.*set HF_HOME")
