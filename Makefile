# make demo   sets everything up in .venv, builds, trains on the emulated GPU
# make test   the test suite (builds first)
# make bench  what the README's figures come from
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
NATIVE := $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.py' -o -name '*.txt' -o -name '*.json') \
          $(wildcard torch_usbgpu/kernels/*_args.h) $(shell find torch_usbgpu/amdgpu/asic -name '*.json')

.PHONY: demo test bench build clean

demo: build
	$(RUN) -m torch_usbgpu.demo

test: build
	$(RUN) -m pytest -q -n auto --dist worksteal

bench: build
	$(RUN) benchmarks/emulator_speed.py
	$(RUN) benchmarks/host_overhead.py
	$(RUN) benchmarks/kernels.py
	$(RUN) benchmarks/link_counts.py

build: $(VENV)/.built

$(VENV)/.requirements: requirements.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.built: $(VENV)/.requirements $(NATIVE) setup.py pyproject.toml
	$(RUN) csrc/build.py
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

clean:
	rm -rf build torch_usbgpu/*.so $(VENV)/.built
