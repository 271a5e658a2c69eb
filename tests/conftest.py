"""For all tests."""
import signal

from . import chip  # noqa: F401  chooses the device, before anything opens it

# A shell that starts us in the background leaves SIGINT ignored, and children inherit that: the tests of
# Ctrl-C would wait for ever. A handler here means the default in every child.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--every", type=int, default=1, metavar="N",
                     help="of the operators' tests (tests/aten) only every N-th, a sample of all of them")


def pytest_collection_modifyitems(config, items):
    every = config.getoption("every")
    if every == 1:
        return
    operators = [item for item in items if "aten" in item.path.parts]
    dropped = {item for i, item in enumerate(operators) if i % every}
    items[:] = [item for item in items if item not in dropped]
    config.hook.pytest_deselected(items=sorted(dropped, key=lambda item: item.nodeid))
