# make help   lists the targets
.DEFAULT_GOAL := help
LOCK = .venv/bin/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --generate-hashes --overrides overrides.txt --no-emit-package sentence-transformers \
	--extra engine --extra postgres --extra s3 --extra router --extra train --extra guard --extra bench --extra test pyproject.toml
UNINSTALLED = --no-emit-package torch --no-emit-package torchvision --no-emit-package torchaudio \
	--no-emit-package torchcodec --no-emit-package triton

.PHONY: help setup serve down test check unit e2e prove lock docs clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Make .venv with the locked packages: the GPU set where an NVIDIA GPU is found (PENSTOCK_ACCELERATOR=cpu|gpu)
	@./setup.sh

serve: setup ## Start the stack in the foreground: cpu-demo, or gpu-demo where a GPU is found (PROFILE=name, PORT=number)
	@set=$$(./setup.sh --accelerator) && profile=$${PROFILE:-$$set-demo} \
	&& echo "Starting profile $$profile on the $$set set" \
	&& exec .venv/bin/penstock up --profile "$$profile" $(if $(PORT),--port $(PORT))

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

prove: setup ## The end-to-end tests in their long forms: more cycles, more clients
	PENSTOCK_PROVE=1 .venv/bin/pytest -q tests/e2e

lock: setup ## Pin every package again (both sets)
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" \
	$(LOCK) --overrides overrides-cpu.txt --extra cpu $(UNINSTALLED) -o requirements-cpu.txt
	env -u UV_FIND_LINKS -u PIP_FIND_LINKS $(LOCK) --extra gpu -o requirements-gpu.txt

docs: setup ## Write docs/configuration.md and docs/api.md from the code, the tables of README.md from results
	.venv/bin/penstock config docs
	.venv/bin/python -m benchmarks.figures README.md

clean: ## Remove .venv and caches
	rm -rf .venv .venv-setup.log .mypy_cache .pytest_cache .ruff_cache .hypothesis
