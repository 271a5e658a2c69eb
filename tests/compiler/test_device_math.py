"""A sample of the accuracy table (docs/device-math.md): every function within its bound of mpmath."""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import device_math  # noqa: E402
sys.path.pop(0)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    built = device_math.compiled(tmp_path_factory.mktemp("device_math"))
    if built is None:
        pytest.skip("no C++ compiler on this host")
    return built


@pytest.mark.parametrize("name", device_math.ROWS)
def test_within_bound(library, name):
    for dtype in (np.float32, np.float64):
        error, where = device_math.measure(library, name, dtype, 60, seed=11)
        assert error <= device_math.ROWS[name].bound, f"{name}{where} in {dtype.__name__}: {error:.2f} ulp"


def test_a_wrong_result_is_noticed(library, monkeypatch):
    row = device_math.ROWS["i0"]
    monkeypatch.setitem(device_math.ROWS, "i0", row._replace(reference=lambda x: row.reference(x) * (1 + 2e-15)))
    assert device_math.measure(library, "i0", np.float64, 60)[0] > row.bound


def test_the_document_has_every_row_within_its_bound():
    lines = device_math.DOCUMENT.read_text().splitlines()
    figures = {cells[1].strip().rstrip("*"): cells[5:7] for line in lines if len(cells := line.split("|")) == 8}
    for row in device_math.ROWS.values():
        assert all(float(figure) <= row.bound for figure in figures[row.title]), row.title
