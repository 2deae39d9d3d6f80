# Plimsoll. `make help` says what there is. Everything is set up by the target that needs it.
SHELL := /bin/bash
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS := .venv-docs
DOCS_STAMP := $(DOCS)/.installed
COUNTS := .venv-counts
COUNTS_STAMP := $(COUNTS)/.installed
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
TOOLS := .venv-tools
TOOLS_STAMP := $(TOOLS)/.installed
PYTEST := $(BIN)/python -m pytest

.PHONY: help install docs reference lock lint format test test-page test-unit test-sweep test-cluster test-matrix test-scheduler test-peers fuzz audit control-plane demo bench soak scale accuracy ranges drystart counts peers rules versions generate dist release-check image kind clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## .venv with everything in it, from the locked dependencies
	@echo "ready: source $(VENV)/bin/activate, or $(BIN)/plimsoll --help"

$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Plimsoll needs Python 3.11 or newer; say which with: make PYTHON=python3.12"; exit 1; }
	@echo "installing into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q estimator operator
	@touch $@

lock: $(TOOLS_STAMP) ## write requirements/*.lock anew from pyproject.toml
	$(UV) pyproject.toml --extra operator --extra hub -o requirements/operator.lock $(LOCK_FLAGS)
	$(UV) requirements/build.in -o requirements/build.lock $(LOCK_FLAGS)
	$(UV) pyproject.toml requirements/build.in --extra operator --extra hub --group dev -o requirements/dev.lock $(LOCK_FLAGS)
	$(UV) requirements/counts.in -o requirements/counts.lock $(LOCK_FLAGS)
	$(UV) requirements/peers.in -o requirements/peers.lock $(LOCK_FLAGS)
	$(UV) requirements/docs.in -o requirements/docs.lock $(LOCK_FLAGS)
	$(UV) requirements/tools.in -o requirements/tools.lock $(LOCK_FLAGS)
UV := $(TOOLS)/bin/uv pip compile
LOCK_FLAGS := --generate-hashes --universal --python-version 3.11 --no-header --no-emit-index-url --quiet

audit: $(TOOLS_STAMP) ## known vulnerabilities of every locked package, and mistakes in workflows
	$(TOOLS)/bin/zizmor --offline --min-severity medium .github/workflows
	@set -e; for lock in requirements/*.lock; do echo "$$lock"; \
	  $(TOOLS)/bin/pip-audit --require-hashes --disable-pip --strict --progress-spinner off -r $$lock; \
	done

$(TOOLS_STAMP): requirements/tools.lock
	@echo "installing into $(TOOLS) ..."
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.lock
	@touch $@

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

control-plane: $(STAMP) ## find or build etcd, kube-apiserver, kubectl and helm, once
	@PYTHONPATH=tests $(BIN)/python -m controlplane build

test: $(STAMP) lint control-plane ## lint and every test; WORKERS=2 at a time, but for the faults, which measure time
	$(PYTEST) -q $(BESIDE) --ignore=tests/faults
	$(PYTEST) -q tests/faults
WORKERS := 2
BESIDE := -n $(WORKERS) --dist loadfile

test-unit: $(STAMP) ## the tests that need nothing running
	$(PYTEST) -q $(BESIDE) -m "not sweep" tests/unit tests/golden

test-page: $(STAMP) ## the page of `plimsoll report` in Chromium: accessibility, pictures in build/page
	@if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null \
	  || ! command -v npm >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get install -y -q chromium npm fonts-dejavu-core; \
	  else echo "install Chromium and npm first"; exit 1; fi; \
	fi
	@mkdir -p build/browser && cp tests/browser/package*.json build/browser
	@cd build/browser && npm ci --silent --ignore-scripts
	$(PYTEST) -q tests/browser/page_in_chromium.py

test-sweep: $(STAMP) ## what `make test-unit` leaves out: wide searches for inputs that break, pictures
	$(PYTEST) -q $(BESIDE) -m sweep tests/unit tests/golden tests/fuzz

fuzz: $(STAMP) ## drawn inputs against every promise: SECONDS=600, SEED=7 repeats; TARGET=, CASE= one of them
	@exec env PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) \
	  $(if $(TARGET),--target $(TARGET)) $(if $(CASE),--case $(CASE))
SECONDS := 60

test-cluster: $(STAMP) control-plane ## the tests against a real API server
	$(PYTEST) -q $(BESIDE) tests/cluster
	$(PYTEST) -q tests/faults

test-matrix: $(STAMP) ## the same on the oldest and the newest Kubernetes that is supported
	@set -e; for which in $(KUBERNETES); do \
	  export PLIMSOLL_KUBERNETES=$$which; echo "Kubernetes: the $$which"; \
	  PYTHONPATH=tests $(BIN)/python -m controlplane build; \
	  $(PYTEST) -q tests/cluster tests/faults; \
	done
KUBERNETES ?= oldest newest

demo: $(STAMP) ## the whole story on a control plane of its own; KEEP=1 leaves it running
	@PYTHONPATH=tests $(BIN)/python -m demo $(if $(KEEP),--keep) $(if $(CLUSTER),--cluster $(CLUSTER))

bench: $(STAMP) control-plane ## benchmarks against baselines of the same run; writes build/bench.json
	@PYTHONPATH=tests $(BIN)/python -m perf

soak: $(STAMP) control-plane ## half an hour of churn with flat memory (SECONDS=1800), or KILLS=1000 of kill -9
	@PYTHONPATH=tests $(BIN)/python -m soak $(if $(KILLS),kills --kills $(KILLS),memory --seconds $(or $(SECONDS),1800)) \
	  $(if $(SEED),--seed $(SEED))

test-scheduler: $(STAMP) control-plane ## placements held against the real kube-scheduler: SEEDS=20 fleets, CLAIMS=5 by DRA, ASKS=200 for each; builds it once
	@PYTHONPATH=tests $(BIN)/python -m scheduler --seeds $(or $(SEEDS),20) --claims $(or $(CLAIMS),5) --asks $(or $(ASKS),200)

test-peers: $(STAMP) control-plane ## ours beside Kueue, LeaderWorkerSet, KServe, Karpenter, kube-scheduler and NVIDIA's feature discovery; builds them once
	@PYTHONPATH=tests $(BIN)/python -m controlplane build scheduler kueue lws kserve kwok karpenter gpu-feature-discovery > /dev/null
	$(PYTEST) -q tests/peers/kueue_check.py tests/peers/lws_check.py tests/peers/kserve_check.py tests/peers/karpenter_check.py tests/peers/feature_discovery_check.py

scale: $(STAMP) control-plane ## what 1,000, 3,000 and 10,000 objects cost the controller; writes build/scale.json
	@PYTHONPATH=tests $(BIN)/python -m soak scale

accuracy: $(STAMP) ## docs/accuracy.md: estimates beside measured start-ups
	@PYTHONPATH=tests $(BIN)/python -m accuracy

ranges: $(STAMP) ## the ranges of what only a GPU tells, from the measured rows; then `make accuracy`
	@PYTHONPATH=tests $(BIN)/python -m accuracy.ranges

drystart: $(STAMP) ## ask a release of vLLM itself, without a GPU: VERSION=0.33.0; none: compare what there is
	@PYTHONPATH=tests $(BIN)/python -m drystart $(VERSION) $(if $(KEEP),--keep) $(if $(DIFFERENCES),--differences) \
	  $(if $(CHANGES),--changes $(CHANGES))

counts: $(COUNTS_STAMP) ## hold parameter counts against transformers' classes; CONFIG=path counts one
	@PYTHONPATH=estimator:tests TRANSFORMERS_VERBOSITY=error $(COUNTS)/bin/python -W ignore -m counts \
	  $(CONFIG) $(if $(WRITE),--write)

$(COUNTS_STAMP): requirements/counts.lock
	@echo "installing into $(COUNTS); some 3 GB ..."
	@test -x $(COUNTS)/bin/python || $(PYTHON) -m venv $(COUNTS)
	@$(COUNTS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/counts.lock
	@touch $@

peers: $(STAMP) $(PEERS_STAMP) ## ask AIConfigurator about the measured start-ups again; then `make accuracy`
	@mkdir -p build && PYTHONPATH=tests $(BIN)/python -m accuracy.asked > build/questions.jsonl
	@$(PEERS)/bin/python tests/accuracy/ask_aiconfigurator.py < build/questions.jsonl > build/answers.jsonl
	@mv build/answers.jsonl tests/data/peers.jsonl && wc -l tests/data/peers.jsonl

$(PEERS_STAMP): requirements/peers.lock
	@echo "installing into $(PEERS); some 700 MB ..."
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/peers.lock
	@touch $@

docs: $(DOCS_STAMP) ## the documents as a site, in build/site; a link that leads nowhere fails
	@NO_MKDOCS_2_WARNING=1 PYTHONDONTWRITEBYTECODE=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "open build/site/index.html"

$(DOCS_STAMP): requirements/docs.lock
	@echo "installing into $(DOCS) ..."
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.lock
	@touch $@

reference: $(STAMP) ## docs/cli.md, docs/crd.md and docs/metrics.md, made from code
	@PYTHONPATH=tests $(BIN)/python -m handbook

rules: $(STAMP) ## docs/rules.md and docs/gates.md, made from the tables of rules and of gates
	@$(BIN)/plimsoll explain -o markdown > docs/rules.md
	@$(BIN)/plimsoll explain --gates -o markdown > docs/gates.md

versions: $(STAMP) ## docs/versions.md: what changes from release to release of vLLM, and by what
	@PYTHONPATH=tests $(BIN)/python -m version_walk

generate: $(STAMP) control-plane rules reference ## the checked-in files that are made from code (CRD, floor, chart, kustomize, reference)
	@$(BIN)/python -m plimsoll_operator.api deploy
	@PYTHONPATH=tests $(BIN)/python -m chart
	@PYTHONPATH=tests $(BIN)/python -m gitops

image: ## the image, with docker, podman or buildah, whichever is here: IMAGE=name
	@deploy/local/image.sh

kind: ## a cluster with kind, k3d or minikube: image loaded, chart installed, an apply refused
	@deploy/local/kind.sh

dist: $(STAMP) ## dist/: wheel, sdist and the packaged chart, with locked tools
	@rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	@PYTHONPATH=tests $(BIN)/python -m release chart dist

release-check: $(STAMP) ## whether TAG=v1.2.3 agrees with every place that states the version
	@PYTHONPATH=tests $(BIN)/python -m release check "$(TAG)"

clean: ## remove what was made here; the control plane's cache stays
	rm -rf build dist $(VENV) $(DOCS) $(COUNTS) $(PEERS) $(TOOLS) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
