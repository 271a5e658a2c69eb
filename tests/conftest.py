"""For all tests."""
import atexit
import os
import shutil
import signal
import tempfile

from . import chip  # noqa: F401  chooses the device, before anything opens it

# A shell that starts us in the background leaves SIGINT ignored, and children inherit that: the tests of
# Ctrl-C would wait for ever. A handler here means the default in every child.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Processes of one user see each other's devices (`usbgpu smi`, `list`): tests that run side by side must not.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="usbgpu-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)


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
