"""`torch.usbgpu`: what people know from `torch.cuda`, for our one device.

Only what boots the device does so; queries (is_available, device_count, memory figures before
first use) do not.
"""
from __future__ import annotations

import functools
import os
import types
from typing import Any

import torch

from . import _C
from . import check as _check
from . import fallback_sites as _sites
from .check import Divergence, checked
from .errors import ConfigError, UsbGpuError
from .kernel import CompiledKernel, compile_kernel

__all__ = [
    "CompiledKernel", "Divergence", "Event", "OutOfMemoryError", "Stream", "StreamContext", "amp",
    "can_device_access_peer", "checked", "clock_rate", "compile_kernel", "current_device", "current_stream",
    "default_stream", "device", "device_count", "device_of", "empty_cache", "fallback_sites", "fallbacks",
    "get_amp_supported_dtype", "get_arch_list", "get_device_capability", "get_device_index", "get_device_name",
    "get_device_properties", "get_rng_state", "get_rng_state_all", "init", "initial_seed", "is_available",
    "is_bf16_supported", "is_current_stream_capturing", "is_initialized", "is_tf32_supported", "kernel_stats",
    "link_stats", "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_reserved", "mem_get_info",
    "memory_allocated", "memory_reserved", "memory_stats", "memory_summary", "memory_usage", "power_draw", "reset",
    "reset_accumulated_memory_stats", "reset_fallbacks", "reset_kernel_stats", "reset_link_stats",
    "reset_peak_memory_stats", "seed", "seed_all", "set_device", "set_fallback", "set_rng_state",
    "set_rng_state_all", "set_stream", "stream", "synchronize", "temperature", "utilization",
]

Device = torch.types.Device

# ---- the device


def is_available() -> bool:
    """True: where no adapter is attached, the emulated device is there."""
    return True


def device_count() -> int:
    return 1


def current_device() -> int:
    return 0


def is_initialized() -> bool:
    """Whether the GPU has been booted."""
    return _C.is_open()


def __getattr__(name: str) -> Any:
    # torch.utils.checkpoint saves and restores random numbers of a device module that says so
    if name == "_initialized":
        return is_initialized()
    # torch.compile's inductor looks for a device's code generator here
    if name == "Scheduling":
        from . import inductor_absent

        inductor_absent.say_so()
    raise AttributeError(f"module 'torch.usbgpu' has no attribute {name!r}")


def init() -> None:
    """Boots the GPU now instead of on first use."""
    if _is_in_bad_fork():
        raise RuntimeError("Cannot use usbgpu in a forked subprocess of a process that opened it. To use usbgpu with "
                           "multiprocessing, you must use the 'spawn' start method")
    _C.open()


def _lazy_init() -> None:
    init()


def _index(device: Any) -> int:
    """0, or an error that names what was asked for."""
    if device is None:
        return 0
    if isinstance(device, int):
        index = device
    else:
        device = torch.device(device)
        if device.type != "usbgpu":
            raise ValueError(f"Expected a usbgpu device, but got: {device}")
        index = device.index or 0
    if index not in (0, -1):
        raise RuntimeError(f"usbgpu:{index} does not exist: there is one device, usbgpu:0")
    return 0


def set_device(device: Device) -> None:
    _index(device)


def get_device_index(device: Any = None, optional: bool = False, allow_cpu: bool = False) -> int:
    """0 for our device, -1 for the CPU if that is allowed, else an error."""
    if allow_cpu and device is not None and not isinstance(device, int) and torch.device(device).type == "cpu":
        return -1
    return _index(device)


def can_device_access_peer(device: Device, peer_device: Device) -> bool:
    _index(device)
    _index(peer_device)
    return False


def get_arch_list() -> list[str]:
    """The GPU's own architecture: kernels are compiled for it when they are first needed. Boots the device."""
    return [get_device_properties().arch]


class device:
    """Context manager that selects the device. There is one, so it only checks."""

    def __init__(self, device: Any):
        self.idx = _index(device)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception) -> None:
        return None


class device_of(device):
    """Selects the device of a tensor or storage; does nothing for those of other devices."""

    def __init__(self, obj: Any):
        super().__init__(obj.device if obj.device.type == "usbgpu" else None)


def synchronize(device: Device = None) -> None:
    """Waits for everything queued; raises what went wrong on the GPU meanwhile."""
    _index(device)
    _C.synchronize()


def reset(at_least: str | None = None) -> Any:
    """Brings the device back after a fault, a hang, a failed transfer or a replug, by the mildest means that works.

    Queued work is lost. Tensors keep their content unless the GPU had to be reset as a whole or had lost its power:
    then a warning says so, they read as all ones (NaN), and can be filled again (load_state_dict, copy_).

    Args:
        at_least: the rung of the recovery ladder to begin with, e.g. "mode-1 reset"; by default what went wrong
            decides.

    Returns:
        What was done and what is lost, or None if the device was not open.
    """
    from . import runtime

    return runtime.device().reset(at_least) if runtime.is_open() else None


@functools.lru_cache(maxsize=1)
def _properties() -> types.SimpleNamespace:
    facts = _C.properties()
    arch = facts["arch"]
    return types.SimpleNamespace(
        name=facts["name"], arch=arch, gcnArchName=arch, major=int(arch[3:-2]), minor=int(arch[-2], 16),
        total_memory=facts["total_memory"], multi_processor_count=facts["compute_units"], warp_size=32,
        max_threads_per_block=1024, shared_memory_per_block=65536)


def get_device_properties(device: Device = None) -> types.SimpleNamespace:
    """name, arch ("gfx1100"), major, minor, total_memory (bytes), multi_processor_count, warp_size ..."""
    _index(device)
    return _properties()


def get_device_name(device: Device = None) -> str:
    return get_device_properties(device).name


def get_device_capability(device: Device = None) -> tuple[int, int]:
    properties = get_device_properties(device)
    return properties.major, properties.minor


# ---- the cable


def link_stats() -> dict[str, Any]:
    """Transfers over the cable since the last reset: control_out, control_in, bulk_out, bulk_in (counts),
    bytes_out, bytes_in, by_request, launches, submissions, modelled_seconds. Boots the device."""
    from . import runtime

    return runtime.device().link_stats()


def reset_link_stats() -> None:
    from . import runtime

    runtime.device().reset_link_stats()


# ---- what the board measures: names and units as in torch.cuda. Each asks the board; they boot the device.


def _metrics(device: Device):
    from . import runtime

    _index(device)
    return runtime.device().metrics()


def temperature(device: Device = None) -> int:
    """Degrees Celsius, at the edge of the die."""
    degrees = _metrics(device).temperature_c
    if degrees is None:
        raise UsbGpuError("The board tells no temperature.", "Use usbgpu smi to see what it tells.")
    return degrees


def power_draw(device: Device = None) -> int:
    """Milliwatts that the GPU and its memory draw, averaged by the board."""
    return 1000 * _metrics(device).power_w


def clock_rate(device: Device = None) -> int:
    """MHz of the graphics clock."""
    return _metrics(device).clocks_mhz["GFXCLK"]


def utilization(device: Device = None) -> int:
    """Percent of the time in which kernels ran, averaged by the board over some milliseconds."""
    return _metrics(device).activity_percent["graphics"]


def memory_usage(device: Device = None) -> int:
    """Percent of the time in which the memory was read or written, averaged as utilization()."""
    return _metrics(device).activity_percent["memory"]


# ---- kernels


def kernel_stats() -> dict[str, dict[str, Any]]:
    """What the GPU ran since the last reset, by kernel name: launches, and where the device can say it (the emulated
    one does; a real GPU answers None): waves, instructions by class, bytes_loaded, bytes_stored, lds_conflicts (with
    USBGPU_EMULATOR=counters), modelled_seconds and more. Waits for queued work; boots the device."""
    from . import runtime

    return runtime.device().kernel_stats()


def reset_kernel_stats() -> None:
    from . import runtime

    runtime.device().reset_kernel_stats()


# ---- operators on the CPU


def fallbacks() -> dict[str, int]:
    """Operators that had no kernel and ran on the CPU since the last reset: {"aten::name.overload": times}."""
    return _C.fallback_counts()


def fallback_sites() -> dict[str, dict[str, int]]:
    """Who asked for them: {"aten::name.overload": {"file.py:line": times}}, the innermost lines outside torch. An
    operator of the backward pass counts for the line that called it, "file.py:line (backward)"."""
    return _sites.counts()


def reset_fallbacks() -> None:
    """Forgets fallbacks() and fallback_sites()."""
    _C.reset_fallback_counts()
    _sites.reset()


def set_fallback(mode: str) -> str:
    """What happens to an operator without a kernel: "warn" (once per operator), "silent" or "error".
    Returns the mode before. USBGPU_FALLBACK sets the first one."""
    before = _C.fallback_mode()
    _C.set_fallback_mode(mode)
    return before


def _configure_from_environment() -> None:
    mode = os.environ.get("USBGPU_FALLBACK") or "warn"
    if mode not in ("warn", "silent", "error"):
        raise ConfigError(f"USBGPU_FALLBACK is {mode!r}.", "Set it to warn, silent or error.")
    _C.set_fallback_mode(mode)
    _C.listen_to_fallbacks(_sites.note)
    _check.configure()


# ---- memory


def memory_stats(device: Device = None) -> dict[str, int]:
    """Bytes: total, allocated, reserved and their peaks; counts: allocations, frees, retries, ooms."""
    _index(device)
    return _C.memory_stats()


def memory_allocated(device: Device = None) -> int:
    """Bytes in tensors."""
    return memory_stats(device)["allocated"]


def max_memory_allocated(device: Device = None) -> int:
    return memory_stats(device)["allocated_peak"]


def memory_reserved(device: Device = None) -> int:
    """Bytes in tensors or cached for the next ones."""
    return memory_stats(device)["reserved"]


def max_memory_reserved(device: Device = None) -> int:
    return memory_stats(device)["reserved_peak"]


def reset_peak_memory_stats(device: Device = None) -> None:
    _index(device)
    _C.reset_peak_memory_stats()


def mem_get_info(device: Device = None) -> tuple[int, int]:
    """(free, total) bytes. Boots the device."""
    _index(device)
    init()
    stats = _C.memory_stats()
    return stats["total"] - stats["allocated"], stats["total"]


def empty_cache() -> None:
    _C.empty_cache()


def reset_accumulated_memory_stats(device: Device = None) -> None:
    """Forgets what torch.accelerator.memory_stats() adds up."""
    _index(device)
    torch.accelerator.reset_accumulated_memory_stats(0)


def memory_summary(device: Device = None, abbreviated: bool = False) -> str:
    """The figures of memory_stats() for people."""
    stats = memory_stats(device)
    rows = [("in tensors", "allocated"), ("in tensors, peak", "allocated_peak"), ("reserved", "reserved"),
            ("reserved, peak", "reserved_peak"), ("of the device", "total")]
    counts = [("allocations", "allocations"), ("frees", "frees")] if not abbreviated else []
    counts += [("retries after freeing the cache", "retries"), ("out of memory", "ooms")]
    return "\n".join([*(f"{title:<32} {stats[key] / 2**20:14,.1f} MiB" for title, key in rows),
                      *(f"{title:<32} {stats[key]:14,d}" for title, key in counts)])


OutOfMemoryError = torch.OutOfMemoryError

# ---- random numbers


def _generator() -> torch.Generator:
    return _C.default_generator()


def manual_seed(seed: int) -> None:
    _generator().manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    manual_seed(seed)


def seed() -> None:
    """Seeds from the system's random numbers."""
    _generator().seed()


def seed_all() -> None:
    seed()


def initial_seed() -> int:
    return _generator().initial_seed()


def get_rng_state(device: Device = "usbgpu") -> torch.Tensor:
    _index(device)
    return _generator().get_state()


def get_rng_state_all() -> list[torch.Tensor]:
    return [get_rng_state()]


def set_rng_state(new_state: torch.Tensor, device: Device = "usbgpu") -> None:
    _index(device)
    _generator().set_state(new_state)


def set_rng_state_all(new_states: list[torch.Tensor]) -> None:
    for state in new_states:
        set_rng_state(state)


# ---- streams: names for the one in-order queue, so that code written for several is right


class Stream(torch.Stream):
    def __new__(cls, device: Device = None, priority: int = 0, **kwargs):
        _index(device)
        if kwargs:
            return super().__new__(cls, **kwargs)
        return super().__new__(cls, device=torch.device("usbgpu", 0), priority=priority)


class Event(torch.Event):
    """enable_timing: elapsed_time() then gives host milliseconds between the moments at which the events
    were seen to have passed."""

    def __new__(cls, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False):
        # a plain torch.Event: elapsed_time() takes no instance of a subclass
        return torch.Event(device=torch.device("usbgpu", 0), enable_timing=enable_timing, blocking=blocking,
                           interprocess=interprocess)


def current_stream(device: Device = None) -> torch.Stream:
    _index(device)
    return torch.accelerator.current_stream(torch.device("usbgpu", 0))


def default_stream(device: Device = None) -> torch.Stream:
    _index(device)
    return torch.Stream(stream_id=0, device_index=0, device_type=torch._C._autograd.DeviceType.PrivateUse1.value)


def is_current_stream_capturing() -> bool:
    return False


def set_stream(stream: torch.Stream) -> None:
    torch.accelerator.set_stream(stream)


class stream:
    """Context manager that selects a stream; None does nothing."""

    def __init__(self, stream: torch.Stream | None):
        self.stream = stream

    def __enter__(self) -> torch.Stream | None:
        if self.stream is not None:
            self.before = current_stream()
            set_stream(self.stream)
        return self.stream

    def __exit__(self, *exception) -> None:
        if self.stream is not None:
            set_stream(self.before)


StreamContext = stream

# ---- mixed precision


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.float16, torch.bfloat16]


def is_tf32_supported() -> bool:
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return True


amp = types.ModuleType("torch.usbgpu.amp", "autocast and GradScaler for usbgpu")
amp.autocast = functools.partial(torch.amp.autocast, "usbgpu")
amp.GradScaler = functools.partial(torch.amp.GradScaler, "usbgpu")

# ---- fork: a child has neither the threads nor the handles of the device that its parent opened

_forked_while_open = False


def _note_fork() -> None:
    global _forked_while_open
    if _C.is_open():
        _forked_while_open = True
        _C.mark_bad_fork()


def _is_in_bad_fork() -> bool:
    return _forked_while_open


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
