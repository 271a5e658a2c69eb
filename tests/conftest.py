"""For all tests."""
import signal

# A shell that starts us in the background leaves SIGINT ignored, and children inherit that: the tests of
# Ctrl-C would wait for ever. A handler here means the default in every child.
signal.signal(signal.SIGINT, signal.default_int_handler)
