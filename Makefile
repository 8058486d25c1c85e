# Two commands do everything, set-up included:  make course   make test
# PYTHON names the interpreter to set up with; VENV the folder of the environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NAME ?=

# MLflow and JupyterLab would otherwise tell others what is done here.
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup course test lab bench nbgrader refresh lock clean distclean

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml .ci/setup.py
	@"$(PYTHON)" .ci/setup.py "$(VENV)"

setup: $(READY)  ## make the environment (the other targets do it by themselves)

course: $(READY)  ## run all notebooks headlessly; look at build/course/index.html
	@$(BIN)/opslab run notebooks notebooks/runbooks notebooks/drills

test: $(READY)  ## run every test that this machine can run
	@$(BIN)/python .ci/test.py

lab: $(READY)  ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks/00_start_here.ipynb

bench: $(READY)  ## measure (one: make bench NAME=realism); tables, and build/bench/*.json
	@$(BIN)/python -m benchmarks $(NAME)

nbgrader: $(READY)  ## an environment with nbgrader, for tests and benchmarks of the labs
	@$(BIN)/python .ci/nbgrader.py

refresh: $(READY)  ## execute the notebooks anew and store the outputs of their check cells
	@$(BIN)/opslab refresh

lock: $(READY)  ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --upgrade \
	  --no-emit-index-url --no-header --no-annotate pyproject.toml --output-file requirements.lock

clean:  ## remove what was built (build/); the environment stays
	@rm -rf build

distclean: clean  ## remove the environment as well
	@rm -rf "$(VENV)" mlops_helpers.egg-info
