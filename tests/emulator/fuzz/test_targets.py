"""A short run of every fuzz target: seeds and a fixed set of mutations, under sanitizers."""
from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FUZZ = ROOT / "csrc" / "fuzz"
RUNS = {"requests": 600, "pm4": 600, "sdma": 300, "page_tables": 3000, "instructions": 3000, "firmware": 1500}


def builder():
    spec = importlib.util.spec_from_file_location("fuzz_build", FUZZ / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def targets():
    cxx = os.environ.get("CXX", "c++")
    probe = subprocess.run([cxx, "-fsanitize=address,undefined", "-x", "c++", "-", "-o", os.devnull], input="int main() {}",
                           text=True, capture_output=True) if shutil.which(cxx) else None
    if probe is None or probe.returncode:
        pytest.skip(f"{cxx} does not link AddressSanitizer and UndefinedBehaviorSanitizer here")
    module = builder()
    return module.build(module.extension.BUILD / "fuzz")


@pytest.mark.parametrize("name", RUNS)
def test_no_input_harms_the_process(targets, name, tmp_path):
    run = subprocess.run([targets[name], f"-runs={RUNS[name]}", "-seed=1", "-seconds=25", FUZZ / "corpus" / name], cwd=tmp_path,
                         capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr[-4000:]
    assert "no fault" in run.stdout


def test_a_fault_is_seen_and_its_input_kept(targets, tmp_path):
    """The sanitizers are really in: a target that reads past its input must fail."""
    source = tmp_path / "bad.cpp"
    source.write_text('#include "fuzz/target.h"\n'
                      'extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { volatile uint8_t beyond = data[size]; return beyond, 0; }\n')
    cxx = os.environ.get("CXX", "c++")
    binary = tmp_path / "bad"
    subprocess.run([cxx, "-std=c++20", *builder().SANITIZE.split(), f"-I{ROOT / 'csrc'}", source, FUZZ / "standalone.cpp", "-o", binary],
                   check=True)
    run = subprocess.run([binary, FUZZ / "corpus" / "pm4" / "nop"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0 and "AddressSanitizer" in run.stderr
    assert [f.read_bytes() for f in tmp_path.glob("crash-*")] == [(FUZZ / "corpus" / "pm4" / "nop").read_bytes()]
