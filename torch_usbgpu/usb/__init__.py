"""The adapter: transports (real, emulated, recorded, faulty) and the protocol on top of them.

    opened = usb.open_handle("auto")
    adapter = usb.adapter_for(opened.handle)
"""
from __future__ import annotations

from .asm2464pd import Adapter
from .choose import adapter_for
from .identity import Identity, identify
from .stats import LinkStats
from .transport import DeviceSpec, OpenedHandle, UsbHandle, list_adapters, open_handle, parse_spec

__all__ = ["Adapter", "DeviceSpec", "Identity", "LinkStats", "OpenedHandle", "UsbHandle", "adapter_for", "identify",
           "list_adapters", "open_handle", "parse_spec"]
