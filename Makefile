# make help   lists the targets
.DEFAULT_GOAL := help
PROFILE ?= $(if $(filter gpu,$(ACCELERATOR)),gpu-24gb,cpu-demo)
ACCELERATOR := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo gpu || echo cpu)
LOCK = .venv/bin/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --generate-hashes --extra engine --extra postgres --extra s3 --extra test pyproject.toml
UNINSTALLED = --no-emit-package torch --no-emit-package torchvision --no-emit-package torchaudio \
	--no-emit-package torchcodec --no-emit-package triton

.PHONY: help setup serve down test check unit e2e prove lock docs clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Make .venv with the locked packages (GPU set where an NVIDIA GPU is found)
	@./setup.sh

serve: setup ## Start the stack in the foreground: prints URL, key and a curl line (PROFILE=name, PORT=number)
	@echo "Starting profile $(PROFILE) on $(ACCELERATOR)"
	@.venv/bin/penstock up --profile $(PROFILE) $(if $(PORT),--port $(PORT))

down: ## Stop the stack
	@.venv/bin/penstock down

test: setup check unit e2e ## Set-up, every check, every test

check: setup ## Format, lint, types, and the rules of the house
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/pytest -q tests/architecture

unit: setup ## The tests that need no running stack
	.venv/bin/pytest -q --ignore tests/e2e --ignore tests/architecture

e2e: setup ## The tests on one real stack
	.venv/bin/pytest -q tests/e2e

prove: setup ## The long forms of the fault and load tests; results under benchmarks/results
	PENSTOCK_PROVE=1 .venv/bin/pytest -q tests/e2e

lock: setup ## Pin every package again (both sets)
	$(LOCK) --overrides overrides-cpu.txt --extra cpu $(UNINSTALLED) -o requirements-cpu.txt
	env -u UV_FIND_LINKS -u PIP_FIND_LINKS $(LOCK) --extra gpu -o requirements-gpu.txt

docs: setup ## Write docs/configuration.md from the settings
	.venv/bin/penstock config docs

clean: ## Remove .venv and caches
	rm -rf .venv .venv-setup.log .mypy_cache .pytest_cache .ruff_cache .hypothesis
