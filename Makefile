# Two commands matter: `make demo` and `make test`. Each sets up `.venv` by itself.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
NATIVE := CMakeLists.txt $(wildcard native/* splats/csrc/* fields/csrc/* vq/csrc/* fields/shapes/csrc/* registration/csrc/*)
SUITE ?= rasterizer

.PHONY: help demo test test-slow lint types bench browser open3d oracle clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(STAMP) ## Sample capture -> trained splats -> report, in a few minutes.
	$(BIN)/fieldwright demo --out output/demo --overwrite

test: $(STAMP) browser open3d ## The default suite: CPU only, a few minutes.
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMP) browser open3d ## The tests that train, kill and resume.
	$(BIN)/python -m pytest -m slow

lint: $(STAMP) ## Style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## Static types.
	$(BIN)/pyright

bench: $(STAMP) ## Measure one suite: make bench SUITE=rasterizer|train|captures
	$(BIN)/fieldwright bench $(SUITE)

# Nothing else needs Node; the tests against other programs skip with a reason without it.
oracle: ## Other programs' splat readers and writers from npm, for tests/splats/test_oracle.py.
	npm install --prefix tests/oracle --no-save --no-package-lock --no-audit --no-fund --ignore-scripts

clean: ## Remove the environment and everything built.
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	.ci/python -m venv $(VENV) \
	  || { echo "Could not create $(VENV). On Debian or Ubuntu run: apt-get install python3-venv" >&2; exit 1; }

# torch comes first and alone: with the pinned version in place no later requirement can pull
# another build of it.
$(STAMP): $(BIN)/python pyproject.toml constraints.txt $(NATIVE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@$(BIN)/python -c 'from importlib.util import find_spec; print("native kernels: built" if find_spec("splats._native") else "native kernels: NOT built, splats will use the slow torch reference; install a C++20 compiler and the Python headers (apt-get install g++ python3-dev) and run make clean")'
	@touch $@

# Only the browser tests need Chromium; they skip with a reason where it is missing.
browser:
	@.ci/browser

# Only the tests and rivals that use Open3D need these; they skip with a reason without them.
open3d:
	@.ci/open3d
