# Each target sets up what it needs by itself: a virtual environment in .venv, models in model-repository/.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MODELS := model-repository/lenet/1/manifest.json model-repository/efficientnet_lite0/1/manifest.json

.PHONY: demo serve test lint format proto bench bench-overload container-test clean help

help: ## Shows this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(INSTALLED) $(MODELS) ## Classifies the bundled pictures through a real server
	@$(BIN)/python scripts/demo.py

serve: $(INSTALLED) $(MODELS) ## Leaves a server running on ports 8001 (gRPC) and 8002 (metrics)
	@$(BIN)/linnaeus-server

test: $(INSTALLED) ## Runs every test
	@$(BIN)/python -m pytest

lint: $(INSTALLED) ## Checks style, types and the contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint

format: $(INSTALLED) ## Formats the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

proto: $(INSTALLED) ## Generates the Python stubs from the contract
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/generate_stubs.py

bench: $(INSTALLED) $(MODELS) runs/bench/resnet18/1/manifest.json ## Measures the served models against the same models in-process
	@$(BIN)/python benchmarks/bench.py

bench-overload: $(INSTALLED) $(MODELS) ## Measures what is kept under overload: deadlines, cancellation, mixed load, chaos
	@$(BIN)/python benchmarks/overload.py

container-test: $(INSTALLED) ## Builds the image and tests it, where podman, runc and mmdebstrap are
	@LINNAEUS_BIN="$(CURDIR)/$(BIN)" docker/container-test.sh

clean: ## Removes what make made
	rm -rf .venv model-repository runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Linnaeus needs Python 3.11 or newer; name one with: make PYTHON=python3.11 …" >&2; exit 1; }
	@echo "Installing into .venv (a minute or two, the first time only) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cli,load,server,zoo,onnx,ship,dev]'
	@touch $@

runs/bench/%/1/manifest.json: | $(INSTALLED)
	@$(BIN)/linnaeus-zoo export $* --weights random --version 1 --repository runs/bench

# A version folder never changes, so an existing one is never rebuilt.
model-repository/%/1/manifest.json: | $(INSTALLED)
	@$(BIN)/linnaeus-zoo export $* --version 1
