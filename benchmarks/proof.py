"""Unattended run of what needs a GPU: `python benchmarks/proof.py [STEP ...] [--budget SECONDS] [--to GPU.md]`.

A step is one command or several side by side, each with a time limit; a failed step ends no other. The page is written
after every step: it keeps its other sections, and a repeated step replaces its earlier output. With a budget no step
starts that would not fit into what is left, by the time that it took on one H100 with 16 cores. DRY_RUN=1 goes through
all steps without a GPU. The exit status is the number of failed steps.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
PYTHON, OUT = Path(sys.executable).name, "OUT"  # As the page names them: the interpreter, and the page's folder.
DRY = bool(os.environ.get("DRY_RUN"))
PYTEST = [PYTHON, "-m", "pytest", "-q", "--no-header", "-rPfEs", "--tb=short", "-m", "gpu or rapids"]
GPU_TESTS, APART = "tests/test_gpu.py", ("memory or context or selftest or waits", "stream or spilled", "cluster")
OTHERS = ["embeddings/test_backends.py", "readers/test_cudf.py", "kernels/test_cuda_c.py", "test_rapids.py"]


def pytest(chosen: str) -> list[str]:
    """Command that runs some of the GPU tests."""
    return [*PYTEST, "-k", chosen, GPU_TESTS]


def bench(cases: str) -> list[str]:
    """Command that measures some cases of the GPU suite."""
    return [PYTHON, "benchmarks/run.py", "gpu", "--rounds", "5", "--only", cases, "--results", f"{OUT}/results.json"]


@dataclass(frozen=True)
class Step:
    """Commands that run side by side.

    Attributes
    ----------
    seconds : int
        What they take together; they are cut off after three times as long.
    commands : list of list of str
    needs_rapids : bool
    """

    seconds: int
    commands: list[list[str]]
    needs_rapids: bool = True

    @property
    def limit(self) -> int:
        """Seconds after which the step is cut off."""
        return 3 * self.seconds + 20


MEMORY, STREAMS, CLUSTER = APART
STEPS = {
    "machine": Step(2, [["nvidia-smi"]], needs_rapids=False),
    "bits": Step(40, [[*PYTEST, "--noconftest", "tests/test_device.py"]], needs_rapids=False),
    "arithmetic": Step(40, [bench("arithmetic|several weights|to the device")], needs_rapids=False),
    "selftest": Step(15, [[PYTHON, "-m", "dask_aesthetic", "selftest"]], needs_rapids=False),
    "memory": Step(40, [pytest(f"({MEMORY}) and not managed")]),  # Alone: it looks at all memory in use.
    "tests": Step(
        120,
        [
            pytest(f"not ({MEMORY} or {STREAMS} or {CLUSTER} or managed)"),
            pytest(STREAMS),
            pytest(f"{CLUSTER} and not context"),
            [*PYTEST, *(f"tests/{file}" for file in OTHERS)],
        ],
    ),
    "call": Step(40, [[PYTHON, "benchmarks/cudf_call.py", "--out", OUT]]),
    "columns": Step(40, [bench("column|dask-cuDF")]),
    "clusters": Step(40, [bench("LocalCUDACluster")]),
    "images": Step(60, [bench("images")], needs_rapids=False),
    "shapes": Step(60, [[PYTHON, "benchmarks/triton_shapes.py"]], needs_rapids=False),
    "managed": Step(25, [pytest("managed")]),  # Last, since some machines fail on managed memory.
}
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
    "PYTHONUNBUFFERED": "1",
    "CUDF_PANDAS_RMM_MODE": "managed",  # Its pool would take most of the GPU.
}
HEAD = "# On a GPU\n\n`python benchmarks/proof.py` writes the sections that are named after its steps.\n"


def run(command: list[str], limit: int, out: Path, needs_rapids: bool) -> tuple[int, str]:
    """Run a command, print its output as it comes, and return exit status and output."""
    real = [sys.executable if part == PYTHON else part.replace(OUT, str(out)) for part in command]
    needed = [] if DRY else ["GPU", "RAPIDS"] if needs_rapids else ["GPU"]
    needs = {f"DASK_AESTHETIC_NEED_{what}": "1" for what in needed}
    lines: list[str] = []
    try:
        process = subprocess.Popen(  # noqa: S603
            ["timeout", "--kill-after=10", str(limit), *real],  # noqa: S607
            cwd=HERE.parent,
            env={**os.environ, **ENVIRONMENT, **needs},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        return 127, f"{error}\n"
    with process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode, "".join(lines)


def take(step: Step, limit: int, out: Path) -> tuple[list[int], str]:
    """Run the commands of a step side by side, and return their exit statuses and outputs."""
    with ThreadPoolExecutor(len(step.commands)) as threads:
        done = list(threads.map(lambda command: run(command, limit, out, step.needs_rapids), step.commands))
    texts = [f"$ {shlex.join(command)}\n{text.strip()}" for command, (_, text) in zip(step.commands, done, strict=True)]
    return [status for status, _ in done], "\n\n".join(texts)


def verdict(statuses: list[int], limit: int) -> str:
    """What a page says of a step."""
    if not any(statuses):
        return "passed"
    return f"cut off after {limit} s" if {124, 137} & set(statuses) else f"failed: {', '.join(map(str, statuses))}"


def sections(page: Path) -> dict[str, str]:
    """Sections of the page by name; the text before them has an empty one."""
    if not page.exists():
        return {"": HEAD.strip()}
    head, *parts = page.read_text().split("\n## ")
    return {"": head.strip()} | {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}


def write(page: Path, found: dict[str, str]) -> None:
    """Write the page: other sections as they stand, then the steps in order."""
    names = [name for name in found if name not in STEPS] + [name for name in STEPS if name in found]
    page.write_text("\n\n".join(f"## {name}\n\n{found[name]}" if name else found[name] for name in names) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)}; default: all")
    parser.add_argument(
        "--budget", type=float, metavar="SECONDS", help="start no step that does not fit into what is left"
    )
    parser.add_argument("--to", type=Path, default=HERE / "GPU.md")
    options = parser.parse_args()
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"expected steps of {', '.join(STEPS)}, got {', '.join(sorted(unknown))}")
    end = time.monotonic() + (options.budget or float("inf"))
    out = options.to.absolute().parent
    out.mkdir(parents=True, exist_ok=True)
    failed, left_out = [], []
    for name in options.steps or STEPS:
        step, start = STEPS[name], time.monotonic()
        if step.needs_rapids and not DRY and find_spec("cudf") is None:
            left_out.append(f"{name} (needs RAPIDS)")
            continue
        if start + step.seconds > end:
            left_out.append(f"{name} (takes {step.seconds} s)")
            continue
        limit = int(min(step.limit, end - start))
        print(f"\n== {name}", flush=True)
        statuses, text = take(step, limit, out)
        said = f"{verdict(statuses, limit)}, {time.monotonic() - start:.0f} s"
        print(f"== {name}: {said}", flush=True)
        if any(statuses):
            failed.append(name)
        write(options.to, sections(options.to) | {name: f"{said}\n\n```\n{text}\n```"})
    print(f"\nleft out: {', '.join(left_out) or 'none'}\nfailed: {', '.join(failed) or 'none'}")
    sys.exit(len(failed))


if __name__ == "__main__":
    main()
