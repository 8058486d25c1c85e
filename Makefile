# Two commands do everything, set-up included:  make course   make test
# PYTHON names the interpreter to set up with; VENV the folder of the environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
NAME ?=

# MLflow and JupyterLab would otherwise tell others what is done here.
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup course test lab bench drills nightly nbgrader refresh lock clean distclean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml .ci/setup.py
	@"$(PYTHON)" .ci/setup.py "$(VENV)"

$(READY_DEV): $(READY) requirements-dev.lock
	@"$(PYTHON)" .ci/setup.py "$(VENV)" --dev

setup: $(READY)  ## make the environment of the course (the other targets do it by themselves)

course: $(READY)  ## run all notebooks headlessly; look at build/course/index.html
	@$(BIN)/opslab run notebooks notebooks/runbooks notebooks/drills

test: $(READY_DEV)  ## run every test that this machine can run
	@$(BIN)/python .ci/test.py

lab: $(READY)  ## open the notebooks in JupyterLab; only this machine reaches it, and only with its token
	@if [ "$$(id -u)" = 0 ]; then \
	  echo "You are root, and so is all that notebooks do. A user of your own is safer; JupyterLab starts all the same."; \
	  set -- --allow-root; \
	fi; JUPYTER_CONFIG_PATH="$(CURDIR)/binder/jupyter" exec $(BIN)/jupyter lab --ip=127.0.0.1 "$$@"

bench: $(READY_DEV)  ## measure (one subject: make bench NAME=serving); tables, and build/bench/RESULTS.md
	@$(BIN)/python -m benchmarks $(NAME)

drills: $(READY)  ## check every scenario of the catalogue: solved by its solutions, and by nothing else (hours)
	@$(BIN)/opslab drill check --at-once=4

nightly: $(READY_DEV)  ## all tests with all seeds, then all drills
	@code=0; OPSLAB_SEEDS=all $(BIN)/python .ci/test.py || code=1; $(BIN)/opslab drill check --at-once=4 || code=1; exit $$code

nbgrader: $(READY)  ## an environment with nbgrader, for what compares with it
	@$(BIN)/python .ci/nbgrader.py

refresh: $(READY)  ## execute the notebooks anew and store the outputs of their check cells
	@$(BIN)/opslab refresh

COMPILE := UV_SYSTEM_CERTS=1 $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-header --no-annotate

lock: $(READY)  ## resolve both locks anew from pyproject.toml
	@$(COMPILE) --upgrade pyproject.toml --group setup --output-file requirements.lock
	@$(COMPILE) --upgrade --group dev --constraints requirements.lock --output-file requirements-dev.lock

clean:  ## remove what was built (build/); the environment stays
	@rm -rf build

distclean: clean  ## remove the environment as well
	@rm -rf "$(VENV)" mlops_helpers.egg-info
