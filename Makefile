# `make help` lists the targets. Each one sets up what it needs: a virtual environment in .venv, and guetzli from Debian.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# guetzli for the image workers; for tests: Go and its MessagePack-RPC, a stranger's client; a wall clock that can be stepped;
# a look at system calls; a browser for the page. For benchmarks: two other servers, beside which ours is measured.
DEBIAN := guetzli golang-go golang-github-ugorji-go-codec-dev libfaketime strace chromium-headless-shell \
	fonts-dejavu-core beanstalkd gearman-job-server
# The vendor's own signing code, for the bucket that speaks OSS. Node and npm are in the virtual environment.
NODE_MODULES := demo/oss/node_modules

.DEFAULT_GOAL := help
.PHONY: help setup compiled pure wheels demo bench bench-images profile soak test guard sim storm sidedata fuzz mutants crashloop power occurrences check format clean

help:  ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/ready $(NODE_MODULES)  ## make the virtual environment and install all that the other targets need
	@$(BIN)/periodicd --version

# Debian's python3 may come without venv; a machine without guetzli gets it if we are allowed to install it.
$(VENV)/ready: pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV) || { apt-get update -q && apt-get install -qy python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@dpkg -s $(DEBIAN) >/dev/null 2>&1 \
		|| { apt-get update -q && apt-get install -qy --no-install-recommends $(DEBIAN); } >/dev/null \
		|| echo 'not all could be installed: as root, apt-get install $(DEBIAN)'
	@touch $@

$(NODE_MODULES): demo/oss/package-lock.json | $(VENV)/ready
	$(BIN)/npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel error && touch $@ \
		|| echo 'not all could be installed: $(BIN)/npm ci --prefix $(@D)'

# Built anew as a whole: what is left of an older build would not be newer than its source.
compiled: $(VENV)/ready  ## compile the core in this tree, which must be done anew after each edit of it
	@{ command -v gcc && test -e "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"; } >/dev/null \
		|| { apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev python3-dev; } >/dev/null
	@$(MAKE) --no-print-directory pure
	PERIODICD_COMPILE=1 $(BIN)/python setup.py -q build_ext --inplace --force
	@$(BIN)/periodicd --version

pure:  ## remove the compiled core from this tree
	@find periodicd -name '*.so' -delete && rm -rf build

wheels: $(VENV)/ready  ## dist/: a pure wheel, and one with the compiled core for each of PYTHONS="python3.11 python3.12"
	$(BIN)/pip wheel -q --no-deps --wheel-dir dist .
	for python in $(or $(PYTHONS),$(PYTHON)); do \
		rm -rf build && $$python -m venv build/venv && build/venv/bin/pip install -q '.[compile]' && \
		PERIODICD_COMPILE=1 build/venv/bin/pip wheel -q --no-deps --no-build-isolation --wheel-dir dist . || exit 1; \
	done; rm -rf build

demo: setup  ## photographs through the whole chain; SERVE=1 keeps its page up; BUCKET=oss: a server that checks as OSS does
	$(BIN)/python -m demo $(if $(BUCKET),--bucket $(BUCKET)) $(if $(SERVE),--serve)

bench: setup  ## what the daemon does in a second here, and beside other servers; JSON=file; AGAINST=REV compares with another revision
	$(BIN)/python -m bench $(if $(JSON),--json $(JSON)) $(if $(AGAINST),--against $(AGAINST))

bench-images: setup  ## thumbnails a second beside pyvips, and encoders beside guetzli; ONLY=rates, encoders or article
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[bench-images]'
	@dpkg -s butteraugli >/dev/null 2>&1 || apt-get install -qy --no-install-recommends butteraugli >/dev/null \
		|| echo 'not all could be installed: as root, apt-get install butteraugli'
	$(BIN)/python -m bench.images $(if $(ONLY),--only $(ONLY))

profile: setup  ## where the daemon's time for one job goes
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m bench.profile

soak: setup  ## does anything grow in hours of mixed load: HOURS=1; what was seen: OUTPUT=soak.jsonl
	$(BIN)/python -m bench.soak --hours $(or $(HOURS),1) --output $(or $(OUTPUT),soak.jsonl)

# More files at a time than processors: half of the time tests wait for other processes.
TESTS_AT_ONCE ?= $(shell echo $$(( $$(nproc) * 3 / 2 )))
test: setup  ## run all tests, some files at a time
	$(BIN)/python -m pytest -q -n $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder

guard: setup  ## count what a job costs, and make that the limits that `make test` holds it to
	$(BIN)/python -m tests.guard

sim: setup  ## simulate crashes, lost messages, failing disks: SECONDS=60, or one seed again with SEED= and STEPS=
	$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS)) $(if $(SECONDS),--seconds $(SECONDS))

occurrences: setup  ## a million instants of schedules, and none is doubled or left out: COUNT=1000000 SEED=
	$(BIN)/python -m tests.sim.occurrences --count $(or $(COUNT),1000000) $(if $(SEED),--seed $(SEED))

mutants: setup  ## plant bugs by hand, one at a time, and see the simulation find each
	$(BIN)/python -m tests.mutants

crashloop: setup  ## kill the real daemon again and again under load: KILLS=300 SEED=
	$(BIN)/python -m tests.crashloop --kills $(or $(KILLS),300) $(if $(SEED),--seed $(SEED))

storm: setup  ## pictures of all kinds through the chain while workers are killed: PICTURES=2000 SEED= WEBDAV=1
	$(BIN)/python -m tests.storm --pictures $(or $(PICTURES),2000) $(if $(SEED),--seed $(SEED)) $(if $(WEBDAV),--webdav)

sidedata: setup  ## pictures with broken side data, which must open all the same: MUTATIONS=10000 of each format, SEED=
	$(BIN)/python -m tests.side_data --mutations $(or $(MUTATIONS),10000) $(if $(SEED),--seed $(SEED))

fuzz: setup  ## mutated pictures in the real decoding children: HOURS=1 SEED= CORPUS=folder of more pictures
	nice -n 19 $(BIN)/python -m tests.decoding_fuzz --hours $(or $(HOURS),1) $(if $(SEED),--seed $(SEED)) $(if $(CORPUS),--corpus $(CORPUS))

power: setup  ## the same with power cuts, on a file system that forgets what was not synced, and one that is slow: CUTS=50 SEED= (needs FUSE)
	@$(BIN)/python -c 'import pyfuse3' 2>/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends \
		libfuse3-dev fuse3 pkg-config gcc python3-dev && $(BIN)/pip install -q pyfuse3; }
	$(BIN)/python -m tests.power --cuts $(or $(CUTS),50) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.power --slow-ms 100

check: setup  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## put the source in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: pure  ## remove what was made
	rm -rf $(VENV) $(NODE_MODULES) demo/run demo/bucket .mypy_cache .ruff_cache .pytest_cache dist *.egg-info
