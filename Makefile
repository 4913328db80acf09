# Everything a newcomer runs. `make` alone lists the targets.
SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
MODEL ?= demo
# The exact version first: an open range would pull gigabytes. Another build than pip's own: make setup TORCH_INDEX=URL
TORCH := torch==2.13.0
TORCH_INDEX ?=
LINTED := api_schemas checkpoints planning runtime blob_store job_store service worker pathpatch

.PHONY: help setup demo test lint audit docs chaos containers bench clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## Create .venv and install everything, once

$(STAMP): pyproject.toml constraints.txt
	@python=""; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if $$candidate -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "pathpatch needs Python 3.11 or newer with its venv module, and none of python3.11, python3.12, python3.13, python3 is one."; \
	  echo "Install it (Debian, Ubuntu: apt install python3.11-venv; macOS: brew install python@3.11), or name it: make setup PYTHON=/path/to/python"; \
	  exit 1; \
	fi; \
	echo "setup: creating $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)
	@echo "setup: installing torch (the largest download)"
	@pip="$(PY) -m pip install -qq --disable-pip-version-check"; \
	if [ -n "$(TORCH_INDEX)" ]; then $$pip $(TORCH) --index-url $(TORCH_INDEX); \
	else $$pip $(TORCH); fi
	@echo "setup: installing the rest, every version pinned in constraints.txt"
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
	@touch $(STAMP)
	@echo "setup: done"

demo: $(STAMP) ## Run the founding experiment over HTTP; MODEL=gpt2-small for the real one
	@$(VENV)/bin/pathpatch demo --model $(MODEL)

test: $(STAMP) ## Run all tests, in parallel; ARGS='tests/worker -x' runs some, one by one
	@$(PY) -m pytest $(or $(ARGS),-n auto --maxprocesses 4 --dist loadfile)

lint: $(STAMP) ## Check format, lint, types and dependencies
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy $(LINTED)
	@$(MAKE) --no-print-directory audit

audit: $(STAMP)
	@$(PY) .ci/audit.py

docs: $(STAMP) ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet && echo "docs: site/index.html"

chaos: $(STAMP) ## Kill processes at random for minutes; SEED=n repeats a run
	@$(PY) tests/faults/chaos.py $(if $(SEED),--seed $(SEED)) $(ARGS)

containers: ## Build and run the container files with your Docker (DOCKER=podman), a job included
	@python3 .ci/containers.py

bench: $(STAMP) ## Measure engine and service; the tables of docs/performance.md
	@for name in engine service scaling estimates; do echo "== $$name"; $(PY) -m benchmarks.$$name $(ARGS) || exit 1; done

clean: ## Remove what the targets made, .venv included
	rm -rf $(VENV) demo site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
