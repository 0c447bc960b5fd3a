# make run                              the default study, in a .venv of its own
# make run STUDY=studies/mnist.yaml     another study
# make diff A=results/x B=results/y     what two runs differ in
# make adopt RESULTS=results/x          take over results that were copied without their file times
# make bench                            speed against the original's way and against peers, to results/bench/
# make test, make lint
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run diff adopt bench test lint clean

run: $(VENV)/installed
	$(BIN)/snakemake --cores $(CORES) $(if $(STUDY),--configfile $(STUDY))

diff: $(VENV)/installed
	@$(if $(and $(A),$(B)),,echo "error: make diff A=results/x B=results/y" && exit 2)
	@$(BIN)/python workflow/tools/diff.py "$(A)" "$(B)"

adopt: $(VENV)/installed
	@$(if $(RESULTS),,echo "error: make adopt RESULTS=results/x" && exit 2)
	@$(BIN)/python workflow/tools/adopt.py "$(RESULTS)"

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/sampling.py $(if $(THREADS),--threads $(THREADS))
	$(BIN)/python benchmarks/training.py $(if $(THREADS),--threads $(THREADS))
	$(BIN)/python benchmarks/fid.py $(if $(THREADS),--threads $(THREADS))
	$(BIN)/python benchmarks/loss_curves.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/workflow_overhead.py
	$(BIN)/python benchmarks/study.py

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -rs --numprocesses 2 --dist loadfile

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than Python 3.11; try make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null \
	  || { echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r $<
	@touch $@

clean:
	rm -rf $(VENV) .snakemake
