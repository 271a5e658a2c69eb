import pytest

from .wire import Wire


@pytest.fixture
def wire():
    """A faithful dock with the bare probe endpoint, bridges and BARs configured."""
    return Wire().bring_up()


@pytest.fixture
def strict():
    return Wire(strict=True).bring_up()
