"""An AMD GPU behind the adapter: one module per IP block, and the boot that brings them up in order."""
from .gpu import Gpu
from .queue import HardwareQueue

__all__ = ["Gpu", "HardwareQueue"]
