"""Ctrl-C after the nth transfer."""
from __future__ import annotations


class Interrupted:
    """A handle, or a transfer of it, with Ctrl-C right after the nth call.

    Python runs the signal's handler when libusb's function has returned: the transfer has happened, or is under way,
    and nobody has noted it yet.
    """

    CUT = ("controlWrite", "controlRead", "bulkWrite", "bulkRead", "getTransfer", "submit")

    def __init__(self, inner, nth: int) -> None:
        self.inner, self.left = inner, [nth]

    def __getattr__(self, name):
        call = getattr(self.inner, name)
        if name not in self.CUT:
            return call

        def interrupted(*args, **kwargs):
            result = call(*args, **kwargs)
            self.left[0] -= 1
            if self.left[0] == 0:
                raise KeyboardInterrupt
            if name == "getTransfer":
                result = Interrupted(result, 0)
                result.left = self.left
            return result
        return interrupted
