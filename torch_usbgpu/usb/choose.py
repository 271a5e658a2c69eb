"""Which protocol a handle's adapter speaks."""
from __future__ import annotations

from .asm2464pd import Adapter
from .bridge import Bridge
from .identity import identify, wrong_mode
from .legacy import LegacyAdapter


def adapter_for(handle) -> Bridge:
    """The adapter behind `handle`, by the firmware that it runs.

    A handle that has no methods to tell is asked for its descriptors; one that does not answer that either (somebody
    else's model, a replayed trace) is taken for the open firmware.

    Raises:
        WrongMode: a firmware with which the card cannot be used.
    """
    identity = identify(handle)
    if identity.mode == "legacy":
        return LegacyAdapter(handle, identity=identity)
    if identity.mode == "custom" or (identity.mode == "unknown" and identity.ids is None):
        return Adapter(handle, identity=identity)
    raise wrong_mode(identity)
