"""Unattended run of all GPU tests and benchmarks: `python benchmarks/proof.py [STEP ...] [--to GPU.md]`.

Every step is a process of its own with a time limit; a failed step does not end the others. The page holds the output
of each step, and a repeated step replaces its earlier output. The exit status is the number of failed steps.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PYTHON, RESULTS = Path(sys.executable).name, "results.json"
PYTEST = [PYTHON, "-m", "pytest", "-v", "--no-header", "-rPfEs", "--tb=short", "-m", "gpu or rapids"]
SEPARATE = "cluster or managed or proxies"
TESTS = ["tests/test_gpu.py", "tests/embeddings/test_backends.py", "tests/inputs/test_cudf.py"]
STEPS = {
    "machine": (["nvidia-smi"], 60),
    "tests": ([*PYTEST, "-k", f"not ({SEPARATE})", *TESTS], 560),
    "kernels": ([PYTHON, "-m", "pytest", "-v", "--no-header", "--tb=short", "-m", "not slow", "tests/kernels"], 200),
    "selftest": ([PYTHON, "-m", "dask_aesthetic", "selftest"], 120),
    "shapes": ([PYTHON, "benchmarks/triton_shapes.py"], 300),
    "bench": ([PYTHON, "benchmarks/run.py", "gpu", "--write", "--results", RESULTS], 590),
    "clusters": ([*PYTEST, "-k", "cluster", "tests/test_gpu.py"], 590),
    # Last, since some machines fail on managed memory.
    "managed": ([*PYTEST, "-k", "managed or proxies", "tests/test_gpu.py", "tests/test_rapids.py"], 400),
    "rapids": ([*PYTEST, "-k", "not proxies", "tests/test_rapids.py"], 400),
}
ENVIRONMENT = {
    "DASK_AESTHETIC_NEED_GPU": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
    "PYTHONUNBUFFERED": "1",
    "CUDF_PANDAS_RMM_MODE": "managed",  # Its pool would take most of the GPU.
}
HEAD = "# On a GPU\n\nWritten by `python benchmarks/proof.py`, unattended.\n"


def run(command: list[str], limit: int) -> tuple[int, str]:
    """Run a command, print its output as it comes, and return exit status and output."""
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603
        ["timeout", "--kill-after=10", str(limit), *command],  # noqa: S607
        cwd=HERE.parent,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return process.returncode, "".join(lines)


def sections(page: Path) -> dict[str, str]:
    """Sections of the page by step."""
    if not page.exists():
        return {}
    parts = page.read_text().split("\n## ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)}; default: all")
    parser.add_argument("--to", type=Path, default=HERE / "GPU.md")
    options = parser.parse_args()
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"expected steps of {', '.join(STEPS)}, got {', '.join(sorted(unknown))}")
    options.to.parent.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.steps or STEPS:
        command, limit = STEPS[name]
        print(f"\n== {name}: {' '.join(command)}", flush=True)
        start = time.monotonic()
        try:
            real = {PYTHON: sys.executable, RESULTS: str(options.to.absolute().with_name(RESULTS))}
            status, text = run([real.get(part, part) for part in command], limit)
        except FileNotFoundError as error:
            status, text = 127, f"{error}\n"
        seconds = time.monotonic() - start
        verdict = (
            "passed" if status == 0 else f"cut off after {limit} s" if status in (124, 137) else f"failed: {status}"
        )
        print(f"== {name}: {verdict}, {seconds:.0f} s", flush=True)
        if status:
            failed.append(name)
        outputs = sections(options.to)
        outputs[name] = f"{verdict}, {seconds:.0f} s\n\n```\n$ {' '.join(command)}\n{text.strip()}\n```"
        ordered = [f"\n## {step}\n\n{outputs[step]}\n" for step in STEPS if step in outputs]
        options.to.write_text(HEAD + "".join(ordered))
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    sys.exit(len(failed))


if __name__ == "__main__":
    main()
