from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.emulator.isa_valu.harness import CHIPS, Assembled


@pytest.fixture(scope="session", params=CHIPS)
def assembled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], Assembled]:
    """Assembles a module's instructions once, however many tests ask."""
    known: dict[int, Assembled] = {}

    def get(cases: dict[str, str]) -> Assembled:
        if id(cases) not in known:
            known[id(cases)] = Assembled(cases, tmp_path_factory.mktemp("isa"), request.param)
        return known[id(cases)]
    return get
