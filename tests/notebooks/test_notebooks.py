"""Every notebook runs from top to bottom in a fresh kernel."""
from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ..chip import CHIP

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, monkeypatch):
    monkeypatch.setenv("USBGPU_DEVICE", f"emulated:{CHIP}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    printed = "".join(output.get("text", "") + str(output.get("data", "")) for cell in notebook.cells
                      if cell.cell_type == "code" for output in cell.outputs)
    assert "AMD Radeon" in printed, "the notebook shows which device it ran on"


def test_there_are_notebooks():
    assert NOTEBOOKS
