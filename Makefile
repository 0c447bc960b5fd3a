# make run                              the default study, in a .venv of its own
# make run STUDY=studies/mnist.yaml     another study
# make progress                         how far it is, from another terminal; with STUDY=... too
# make peek                             a report of what is there already
# make diff A=results/x B=results/y     what two runs differ in
# make film SAMPLES=results/x/samples/CELL.npz   a GIF of one cell's chain, beside it
# make archive                          one file of a finished study; STUDY=..., WEIGHTS=1 for its nets, too
# make verify ARCHIVE=results/x.zip     whether such a file is whole
# make export MODEL=hw4-sees            a trained net as a folder for plain PyTorch; with STUDY=... too
# make why                              what a run would do and why, before it does it; with STUDY=... too
# make bench                            speed against the original's way and against peers, to results/bench/
# make test, make test-long, make lint
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run progress peek diff film export archive verify why bench test test-long lint clean

run: $(VENV)/installed
	@$(BIN)/python workflow/tools/run.py --cores $(CORES) $(STUDY)

diff: $(VENV)/installed
	@$(if $(and $(A),$(B)),,echo "error: make diff A=results/x B=results/y" && exit 2)
	@$(BIN)/python workflow/tools/diff.py "$(A)" "$(B)"

progress: $(VENV)/installed
	@$(BIN)/python workflow/tools/progress.py $(STUDY)

peek: $(VENV)/installed
	@$(BIN)/python workflow/tools/peek.py $(STUDY)

film: $(VENV)/installed
	@$(if $(SAMPLES),,echo "error: make film SAMPLES=results/STUDY/samples/CELL.npz" && exit 2)
	@$(BIN)/python workflow/tools/film.py "$(SAMPLES)"

archive: $(VENV)/installed
	@$(BIN)/python workflow/tools/archive.py $(if $(WEIGHTS),--weights) $(STUDY)

verify: $(VENV)/installed
	@$(if $(ARCHIVE),,echo "error: make verify ARCHIVE=results/STUDY.zip" && exit 2)
	@$(BIN)/python workflow/tools/verify.py "$(ARCHIVE)"

export: $(VENV)/installed
	@$(if $(MODEL),,echo "error: make export MODEL=hw4-sees" && exit 2)
	@$(BIN)/python workflow/tools/export.py "$(MODEL)" $(STUDY)

why: $(VENV)/installed
	@$(BIN)/python workflow/tools/why.py $(STUDY)

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/sampling.py $(if $(THREADS),--threads $(THREADS))
	$(BIN)/python benchmarks/training.py $(if $(THREADS),--threads $(THREADS))
	$(BIN)/python benchmarks/fid.py $(if $(THREADS),--threads $(THREADS))
	$(BIN)/python benchmarks/loss_curves.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/workflow_overhead.py
	$(BIN)/python benchmarks/small_cells.py
	$(BIN)/python benchmarks/study.py
	@if PATH="$$PATH:/usr/sbin" command -v slurmctld > /dev/null; then $(BIN)/python benchmarks/cluster.py; \
	else echo "no SLURM here: benchmarks/cluster.py is left out"; fi

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -rsfE --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 15 -m "not long"

test-long: $(VENV)/installed-dev
	$(BIN)/python -m pytest -rsfE --numprocesses 2 --dist loadscope --durations 15 -m long

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
