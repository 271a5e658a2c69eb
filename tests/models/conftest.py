"""Whole models on the emulated GPU: nothing in them may run on the CPU."""
from ..no_fallback import no_fallback, pytest_runtest_makereport  # noqa: F401  found by pytest
