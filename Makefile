# make demo: segments a real scan.   make test: runs the tests.   Both do all the set-up first, once.

VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo_output
SHARED ?= ../shared
SETUP := pyproject.toml hatch_build.py constraints.txt .ci/setup
# Two processes with one thread each use two cores well; more processes where there are more cores. One that crashes is
# not replaced: with tests shared out by file the rest would wait for it without end.
JOBS ?= auto
TEST_ENV := OMP_NUM_THREADS=1 NAPARI_ENSURE_PLUGIN_MAIN_THREAD=1 QT_LOGGING_RULES="*.debug=false"
# A window needs a screen: a virtual one on Linux.
SCREEN := $(if $(filter Linux,$(shell uname -s)),xvfb-run -a -s "-screen 0 1600x1200x24")

.PHONY: demo test lint docs format app screenshots train-shipped train-status train-stop clean

demo: $(VENV)/.demo-ready
	VENV="$(VENV)" .ci/demo "$(OUT)"

test: $(VENV)/.test-ready
	@.ci/packages
	$(TEST_ENV) $(SCREEN) $(BIN)/python -m pytest -q -n $(JOBS) --maxprocesses=4 --dist=loadfile --max-worker-restart=0 $(ARGS)

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.test-ready
	$(BIN)/python -m sphinx -j auto -W --keep-going -q -b html docs build/docs
	@echo "The site is build/docs/index.html"

format: $(VENV)/.test-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

app: $(VENV)/.app-ready
	$(BIN)/napari -w napari-synthseg

screenshots: $(VENV)/.test-ready
	@.ci/packages
	$(SCREEN) $(BIN)/python docs/make_screenshots.py

# Trains the shipped weights further at the lowest priority, from the newest state in the user's cache.
train-shipped: $(VENV)/.demo-ready
	$(BIN)/python benchmarks/train_shipped.py start $(SHARED)

train-status train-stop: $(VENV)/.demo-ready
	@$(BIN)/python benchmarks/train_shipped.py $(@:train-%=%)

clean:
	rm -rf $(VENV) $(OUT) build dist .mypy_cache .pytest_cache .ruff_cache napari_synthseg/napari.yaml napari_synthseg/resources

$(VENV)/.demo-ready: $(SETUP)
	@VENV="$(VENV)" .ci/setup samples
	@touch $@

$(VENV)/.test-ready: $(SETUP)
	@VENV="$(VENV)" .ci/setup gui,samples,dev
	@touch $@ $(VENV)/.app-ready $(VENV)/.demo-ready

$(VENV)/.app-ready: $(SETUP)
	@VENV="$(VENV)" .ci/setup gui,samples,train,dicom
	@touch $@ $(VENV)/.demo-ready
