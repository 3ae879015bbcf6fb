# Run `make` for what there is. PYTHON chooses the interpreter of a new environment, VENV its folder.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint types contracts check lowest rapids test-gpu bench bench-peers bench-images bench-job bench-choose bench-gpu proof-gpu chaos end-to-end notebooks folded wheel docs clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,embed]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

demo: $(VENV)/.test  ## Make a small synthetic data set and score it
	$(BIN)/dask-aesthetic demo

# Two processes, each with a file of tests: many tests wait for processes of their own.
SIDE_BY_SIDE := -n 2 --dist loadfile

# Threads of OpenBLAS spin while they wait: with busy cores a decomposition takes 9 s instead of 0.3 s.
test test-slow lowest: export OPENBLAS_NUM_THREADS ?= 1

test: $(VENV)/.test  ## Run the tests (less than ten minutes on two cores)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-slow: $(VENV)/.test  ## Run the notebooks, and whole models, and jobs from images to tars
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev  ## Check style and format
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Check types
	$(BIN)/mypy
	$(BIN)/mypy tests/test_types.py
	$(BIN)/basedpyright --pythonpath $(BIN)/python

contracts: $(VENV)/.dev  ## Check the direction of imports
	$(BIN)/lint-imports --no-logo

check: lint types contracts  ## Lint, types and contracts

.venv-lowest/.ready: pyproject.toml .ci/lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -r .ci/lowest.txt -e .
	@touch $@

lowest: .venv-lowest/.ready  ## Run all tests with the lowest supported versions
	.venv-lowest/bin/python -m pytest -m '' $(SIDE_BY_SIDE)

.venv-rapids/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-rapids
	.venv-rapids/bin/python -m pip install --quiet --disable-pip-version-check -e '.[cuda13,test]'
	@touch $@

rapids: .venv-rapids/.ready  ## Check against the real RAPIDS packages; needs no GPU
	.venv-rapids/bin/python -m pytest -m rapids

test-gpu: .venv-rapids/.ready  ## Run the tests that need a GPU
	.venv-rapids/bin/python -m pytest -m gpu

# SUITE says which: kernel, columns, pipeline, scale, store, disk, gil, import, verdicts.
bench: $(VENV)/.bench  ## Measure all suites, or SUITE, and write benchmarks/RESULTS.md (about twelve minutes, 10 GB of disk)
	$(BIN)/python benchmarks/run.py $(SUITE) --write

# Peers need environments of their own; nemo-curator wants other versions than the rest.
.venv-peers/.ready:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check vision-data-curation simple-aesthetics-predictor duckdb polars pandas pyarrow torch
	@touch $@

.venv-curator/.ready:
	$(PYTHON) -m venv .venv-curator
	.venv-curator/bin/python -m pip install --quiet --disable-pip-version-check 'nemo-curator==1.*' torch
	@touch $@

PEERS := vision_data_curation simple_aesthetics_predictor pandas_and_torch duckdb polars

bench-peers: $(VENV)/.bench .venv-peers/.ready .venv-curator/.ready  ## Measure peers on published weights in CHECKPOINTS and an .npy file of EMBEDDINGS
	CHECKPOINTS='$(CHECKPOINTS)' EMBEDDINGS='$(EMBEDDINGS)' \
	PEER_PYTHONS='nemo_curator=.venv-curator/bin/python $(foreach peer,$(PEERS),$(peer)=.venv-peers/bin/python)' \
	$(BIN)/python benchmarks/run.py peers --write

bench-images: $(VENV)/.bench  ## Measure decoding and preprocessing of images, and how busy the model is kept
	$(BIN)/python benchmarks/images.py preprocess --json benchmarks/images.json
	$(BIN)/python benchmarks/images.py busy --large --json benchmarks/images.json
	$(BIN)/python benchmarks/image_feed.py stand-in --json benchmarks/images.json
	$(BIN)/python benchmarks/image_feed.py gil --json benchmarks/images.json
	$(BIN)/python benchmarks/image_workers.py --json benchmarks/images.json

bench-job: $(VENV)/.bench  ## Measure the memory of jobs, and one of a hundred million rows (ten minutes, 4 GB of disk)
	for part in memory long; do $(BIN)/python benchmarks/job.py $$part --json benchmarks/job.json || exit 1; done

bench-choose: $(VENV)/.bench  ## Measure selections and lists from twenty million scores (five minutes, 3 GB of disk)
	$(BIN)/python benchmarks/choose.py

chaos: $(VENV)/.test  ## Kill workers and drivers of jobs again and again, and compare what comes out
	PYTHONPATH=tests $(BIN)/python -m helpers.chaos

end-to-end: $(VENV)/.test  ## Images to scores to kept tars with a small random model, killed once and resumed
	PYTHONPATH=tests $(BIN)/python -m helpers.end_to_end

bench-gpu: .venv-rapids/.ready  ## Measure one GPU: arithmetic, columns, Parquet to scores, images
	.venv-rapids/bin/python benchmarks/run.py gpu --write

# It needs nobody. CURATOR_0 and CHECKPOINTS in the environment bring a peer in, as benchmarks/suites/gpu.py says.
proof-gpu: .venv-rapids/.ready  ## All tests and figures that need a GPU, into benchmarks/GPU.md; STEPS says which, BUDGET the seconds
	.venv-rapids/bin/python benchmarks/proof.py $(STEPS) $(if $(BUDGET),--budget $(BUDGET))

notebooks: $(VENV)/.test  ## Run the notebooks in place
	$(BIN)/python notebooks/execute.py

folded: $(VENV)/.test  ## Rebuild the folded predictors from published checkpoints in CHECKPOINTS
	$(BIN)/python tools/fold_predictors.py $(CHECKPOINTS)

docs: $(VENV)/.dev  ## Build the documentation strictly into docs/_build/html (half a minute)
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --jobs auto --quiet docs docs/_build/html

wheel: $(VENV)/.dev  ## Build sdist and wheel into dist/, check their metadata, and try each on its own
	bash .ci/wheel

clean:  ## Remove environments and what was built
	rm -rf docs/_build docs/generated .venv .venv-lowest .venv-rapids .venv-peers .venv-curator build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
