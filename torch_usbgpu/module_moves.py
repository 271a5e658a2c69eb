"""`module.to("usbgpu")` keeps its Parameter objects, as a move to torch's own devices does.

torch moves a module's parameters by `parameter.data = moved`, but only between devices that it knows by name; for
others it puts new Parameters in their place. Tied weights would then be two weights, and an optimizer made before the
move would go on with the old ones and train nothing.
"""
from __future__ import annotations

import threading

DEVICE = "usbgpu"


def keep_parameters(torch) -> None:
    """Wraps Module._apply, which .to(), .usbgpu(), .cpu(), .half() and the like all come down to."""
    original = torch.nn.Module._apply
    running = threading.local()

    def _apply(self, fn, recurse=True):
        outermost = not hasattr(running, "replaced")
        if outermost:
            running.replaced = {}
        try:
            before = dict(self._parameters)
            result = original(self, fn, recurse)
            for name, old in before.items():
                new = self._parameters.get(name)
                if old is None or new is None or new is old or DEVICE not in (old.device.type, new.device.type):
                    continue
                self._parameters[name] = _same_object(torch, old, new, running.replaced)
            return result
        finally:
            if outermost:
                del running.replaced

    _apply.__wrapped__ = original
    torch.nn.Module._apply = _apply


def _same_object(torch, old, new, replaced):
    """`old` with the contents of `new`; where something else holds on to its contents (a graph that is still alive, a
    weak reference), the one Parameter that takes its place in all modules. `replaced` keeps `old` alive, so that its id
    is its own."""
    if id(old) in replaced:
        return replaced[id(old)][1]
    try:
        torch.utils.swap_tensors(old, new)
    except RuntimeError:
        replaced[id(old)] = old, new
        return new
    return old
