from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.emulator.isa_valu.harness import CHIPS, Assembled, OnChip


@pytest.fixture(scope="session")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Assembled]:
    """Assembles a module's instructions once, however many tests ask."""
    known: dict[tuple, Assembled] = {}

    def get(cases: dict[str, str], target: str = "gfx1100", wave64: bool = False) -> Assembled:
        key = id(cases), target, wave64
        if key not in known:
            known[key] = Assembled(cases, tmp_path_factory.mktemp("isa"), target, wave64)
        return known[key]
    return get


@pytest.fixture(scope="session", params=CHIPS)
def on_both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, str]], OnChip]:
    """The same for tests that run on both generations."""
    known: dict[int, OnChip] = {}

    def get(cases: dict[str, str]) -> OnChip:
        if id(cases) not in known:
            known[id(cases)] = OnChip(cases, tmp_path_factory.mktemp("isa"), request.param)
        return known[id(cases)]
    return get
