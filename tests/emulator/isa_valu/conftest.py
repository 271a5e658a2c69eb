from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.emulator.isa_valu.harness import Assembled


@pytest.fixture(scope="session")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], Assembled]:
    """Assembles a module's instructions once, however many tests ask."""
    known: dict[int, Assembled] = {}

    def get(cases: dict[str, str]) -> Assembled:
        if id(cases) not in known:
            known[id(cases)] = Assembled(cases, tmp_path_factory.mktemp("isa"))
        return known[id(cases)]
    return get
