"""For all tests."""
import signal

from . import chip  # noqa: F401  chooses the device, before anything opens it

# A shell that starts us in the background leaves SIGINT ignored, and children inherit that: the tests of
# Ctrl-C would wait for ever. A handler here means the default in every child.
signal.signal(signal.SIGINT, signal.default_int_handler)
