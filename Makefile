# The commands. They need Python 3.11 or newer; `make` makes the rest. The browser packages in web/ need
# Node.js 20.19 or newer besides: without it they are left out, and what leaves them out says so.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
LOCAL_STAMP := $(VENV)/.local
BENCH_STAMP := $(VENV)/.bench
WEB_STAMP := web/node_modules/.complete
WEB_BUILT := web/.built
WEB_FILES := $(shell find web -name node_modules -prune -o -name dist -prune -o -name .next -prune -o -path web/demo -prune -o -path web/packages -prune -o -type f ! -name .built ! -name next-env.d.ts -print)
ELEMENT_BUILT := web/element/dist
ELEMENT_OF_DEMO := web/demo
PEERS_VENV := .venv-peers
PEERS_STAMP := $(PEERS_VENV)/.complete
DOCS_VENV := .venv-docs
DOCS_STAMP := $(DOCS_VENV)/.complete
PEERS_ASKED := $(filter-out 0,$(PEERS))$(findstring peers,$(ONLY))
TEST_JOBS ?= 4
# A process of the tests that dies ends them: xdist would start another, and may then wait for ever for an empty file.
PYTEST_PARALLEL := -n $(TEST_JOBS) --dist loadfile --max-worker-restart 0
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
ENGINE ?= docker
DEPLOY_STAMP := $(VENV)/.deploy
DEPLOY_PACKAGES := debootstrap buildah podman runc nginx-light haproxy caddy curl docker-compose prometheus systemd
# What waits for other processes, counts what they do, or takes a lease from them.
BUSY_TESTS := tests/e2e/test_worker_process.py tests/e2e/test_next_attempt.py tests/e2e/test_fencing.py \
	tests/e2e/test_partitions.py tests/e2e/test_two_apis.py tests/e2e/client/test_client.py tests/e2e/client/test_react.py \
	$(addprefix tests/integration/test_,$(addsuffix .py,abandoned claim counted_idle counted_work database endings \
	http_limits hub jwks links lost_receipts migrate once_only publisher reaper redis_acl row_is_the_truth \
	server_closing slow_gone_expired stop user_server watch))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help image test-deploy wheel fix setup run test test-long test-busy fuzz chaos siege bench soak check docs web web-test web-built web-check element-current migrate api worker lock browser clean

help: ## print this
	@awk -F ' *## ' '/^[a-z-]+:.*## / { sub(/:.*/, "", $$1); printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make the environment in .venv, as locked
	@git rev-parse --git-dir >/dev/null 2>&1 && ! git config --get core.hooksPath >/dev/null && \
		echo "To have ruff look at what you commit: git config core.hooksPath .githooks" || true

run: $(if $(wildcard $(STAMP)),$(STAMP),$(LOCAL_STAMP)) ## all of Relaykit on this machine, until Ctrl-C (CHATKIT_SERVER, APP_DIR, PORT, WORKERS, API_PROCESSES, DATA_DIR)
	@for file in $${APP_DIR:+"$$APP_DIR/requirements.txt" "$$APP_DIR/pyproject.toml"}; do \
		[ -f "$$file" ] && { VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --constraint requirements.lock \
			-r "$$file" || exit; break; }; done; \
	exec $(BIN)/python -m relaykit dev

test: $(STAMP) browser $(if $(ARGS),,web-test) ## the tests, on real services (ARGS="-k name tests/unit" for some; TEST_JOBS=1 one after the other)
	@exec $(BIN)/python -m pytest $(PYTEST_PARALLEL) -m "not long and not deploy" $(ARGS)

test-long: $(STAMP) ## the tests that take minutes, most of them of whole processes that are started and killed; then test-busy
	@$(BIN)/python -m pytest $(PYTEST_PARALLEL) -m "long and not deploy" $(ARGS)
	@$(if $(ARGS),:,$(MAKE) --no-print-directory test-busy)

test-busy: $(STAMP) browser web-built ## the tests that a slow machine could break, on one: BUSY (3) processes keep each core busy meanwhile
	@exec $(BIN)/python -m tests.busy $(BIN)/python -m pytest $(PYTEST_PARALLEL) -m "not long and not deploy" $(or $(ARGS),$(BUSY_TESTS))

test-deploy: $(DEPLOY_STAMP) ## the tests of deploy/: the image, the proxies, the files for compose, Kubernetes and systemd; as root, on Debian
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		missing=; for package in $(DEPLOY_PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
		if [ -n "$$missing" ]; then echo "Installing for the tests:$$missing"; \
			{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $$missing; } >/dev/null || exit; fi; fi
	@npm --prefix tests/deploy/crds --silent ci
	@exec $(BIN)/python -m pytest -n 0 -m deploy $(or $(ARGS),tests/deploy)

fuzz: $(STAMP) ## the property tests with FUZZ_EXAMPLES (1000) examples each, for a quarter of an hour (ARGS="-k life" for some)
	@FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-1000} exec $(BIN)/python -m pytest $(PYTEST_PARALLEL) --timeout 0 tests/properties $(ARGS)

chaos: $(STAMP) ## kill, freeze, restart and cut everything for CHAOS_SECONDS (120) under CHATS (30) clients, then check; SEED
	@exec $(BIN)/python -m tests.chaos

siege: $(STAMP) ## attack the API beside ten clients that behave well, each attack for SIEGE_SECONDS (6); ONLY=head,silent for some; SEED
	@exec $(BIN)/python -m tests.siege

bench: $(BENCH_STAMP) $(if $(PEERS_ASKED),$(PEERS_STAMP)) $(if $(and $(ONLY),$(if $(findstring page,$(ONLY)),,1)),,web-built) ## the benchmarks, each beside its baseline (QUICK=1: a few minutes; ONLY=latency,relay for some; PEERS=1: Agno beside ours too)
	@exec $(BIN)/python -m bench

soak: $(BENCH_STAMP) ## half or more of what one worker holds, for SOAK_SECONDS (3600): what grows
	@exec $(BIN)/python -m bench.soak

image: ## build the image relaykit:VERSION of deploy/docker (ENGINE=podman, BASE=debian@sha256:... for others)
	$(ENGINE) build $(if $(findstring podman,$(ENGINE)),--format docker) --file deploy/docker/Dockerfile --tag relaykit:$(VERSION) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(if $(BASE),--build-arg BASE=$(BASE)) .

wheel: $(STAMP) ## build a wheel and an sdist in dist/
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist . && ls dist/*.whl

fix: $(STAMP) ## sort imports, format, and mend what ruff and biome can mend by themselves
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .
	@$(call with_node,$(WEB_STAMP) && npm --prefix web --silent run format)

check: $(STAMP) web-check ## ruff, its formatter, mypy --strict, import-linter; biome and tsc for web/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS_STAMP) ## the documentation as a site with search, build/docs/README.html; fails for a link that leads nowhere
	@$(DOCS_VENV)/bin/sphinx-build --quiet --fresh-env --write-all --fail-on-warning --keep-going --builder html --conf-dir docs/site . build/docs

web: $(WEB_BUILT) ## build the browser packages (web/packages/*.tgz, to install), and give the demo page its chat
	rm -rf web/packages && mkdir web/packages
	npm --prefix web --silent pack --pack-destination $(CURDIR)/web/packages $(foreach name,client element react,-w $(name)) >/dev/null
	rm -f $(ELEMENT_OF_DEMO)/relaykit-chat*.js && cp $(ELEMENT_BUILT)/relaykit-chat*.js $(ELEMENT_OF_DEMO)

web-test: ## the tests of the browser packages that need no browser, and the build that the others need
	@$(call with_node,$(WEB_BUILT) && npm --prefix web --silent test)

web-built:
	@$(call with_node,$(WEB_BUILT))

web-check:
	@$(call with_node,$(WEB_BUILT) && npm --prefix web --silent run check && $(MAKE) --no-print-directory element-current)

# The demo page has the element as it was built, so that `make run` needs no Node.js.
element-current:
	@[ "$$(cd $(ELEMENT_BUILT) && cksum relaykit-chat*.js)" = "$$(cd $(ELEMENT_OF_DEMO) && cksum relaykit-chat*.js)" ] || { \
		echo "$(ELEMENT_OF_DEMO)/relaykit-chat*.js are not what web/element builds: run make web, and commit them." >&2; exit 1; }

# $(call with_node,target && command), or a word that there is no Node.js; in CI that fails.
define with_node
if command -v npm >/dev/null || [ -n "$$CI" ]; then $(MAKE) --no-print-directory $(1); \
else echo "There is no Node.js: the browser packages are left out." >&2; fi
endef

$(WEB_BUILT): $(WEB_STAMP) $(WEB_FILES)
	@npm --prefix web --silent run build
	@touch $@

$(WEB_STAMP): web/package-lock.json web/package.json
	@npm --prefix web --silent ci
	@touch $@

migrate: $(STAMP) ## bring the schema of DATABASE_URL up to date
	@exec $(BIN)/python -m relaykit migrate

api: $(STAMP) ## one API process, with the settings of the environment
	@exec $(BIN)/python -m relaykit api

worker: $(STAMP) ## one worker process, with the settings of the environment
	@exec $(BIN)/python -m relaykit worker

lock: $(STAMP) ## write the lock files anew from pyproject.toml (ARGS=--upgrade for newer versions)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group uv -o requirements-uv.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--constraint requirements-dev.lock --group build -o requirements-build.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header $(ARGS) \
		--group dev --group local --group otel pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--constraint requirements-dev.lock pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--constraint requirements-dev.lock --extra otel pyproject.toml -o requirements-otel.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--constraint requirements-dev.lock --group local --group uv pyproject.toml -o requirements-local.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(ARGS) \
		--constraint requirements-dev.lock --group deploy -o requirements-deploy.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(ARGS) \
		--constraint requirements-dev.lock --group bench -o requirements-bench.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(ARGS) \
		--group peers -o requirements-peers.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate $(ARGS) \
		--group docs -o requirements-docs.lock

# Headless Chromium for the browser tests, nginx, PgBouncer, Prometheus and libfaketime. Without them their tests are
# skipped and say so; in CI they fail.
browser:
	@missing=; \
	command -v chromium >/dev/null || [ -n "$$CHROMIUM" ] || missing="chromium"; \
	PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || missing="$$missing nginx-light"; \
	PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || missing="$$missing pgbouncer"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$$missing libfaketime"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing for the tests: $$missing"; \
		{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $$missing; } \
			>/dev/null || echo "It could not be installed; the tests that need it will be left out." >&2; \
	else \
		echo "Not on PATH, so tests that need it will be left out (Debian: apt-get install $$missing)." >&2; \
	fi

clean: ## remove the environment, caches and local mode's data
	@pid=$$(head -n 1 .relaykit/lock 2>/dev/null); if [ -n "$$pid" ] && kill -0 "$$pid" 2>/dev/null; then \
		echo "Relaykit runs here (process $$pid); stop it first." >&2; exit 1; fi
	@if [ -L .relaykit/postgres ]; then rm -rf "$$(dirname "$$(readlink .relaykit/postgres)")"; fi
	rm -rf $(VENV) $(PEERS_VENV) $(DOCS_VENV) build $(WEB_BUILT) .relaykit .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find web -name node_modules -prune -o \( -name dist -o -name .next \) -type d -prune -exec rm -rf {} +
	rm -rf web/node_modules tests/deploy/crds/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call sync,<lock file>): what .venv has afterwards, and nothing else.
define sync
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "Relaykit needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "'$(PYTHON)' cannot make virtual environments (Debian: apt-get install python3-venv)." >&2; exit 1; }
@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes $(1)
endef

$(STAMP): requirements-dev.lock requirements-uv.lock Makefile
	$(call sync,requirements-dev.lock)
	@touch $@

$(LOCAL_STAMP): requirements-local.lock requirements-uv.lock Makefile
	@echo "Installing what Relaykit needs into $(VENV) ..."
	$(call sync,requirements-local.lock)
	@touch $@

$(BENCH_STAMP): requirements-bench.lock $(STAMP)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements-bench.lock
	@touch $@

$(DEPLOY_STAMP): requirements-deploy.lock $(STAMP)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements-deploy.lock
	@touch $@

# Beside ours and not in it: what a peer needs is none of the product's.
$(DOCS_STAMP): requirements-docs.lock $(STAMP)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(DOCS_VENV)
	@VIRTUAL_ENV=$(CURDIR)/$(DOCS_VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements-docs.lock
	@touch $@

$(PEERS_STAMP): requirements-peers.lock $(STAMP)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEERS_VENV)
	@VIRTUAL_ENV=$(CURDIR)/$(PEERS_VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements-peers.lock
	@touch $@
