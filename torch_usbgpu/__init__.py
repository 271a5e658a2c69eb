"""PyTorch on an AMD Radeon that hangs on an ordinary USB3 port.

    >>> import torch, torch_usbgpu
    >>> torch.ones(3, device="usbgpu") + 1
    tensor([2., 2., 2.], device='usbgpu:0')

Importing this package registers the device with torch, before or after torch itself is imported, and touches no
hardware: the GPU boots on first use. The driver below (`torch_usbgpu.usb`, `.amdgpu`, `.runtime`, `.compiler`)
neither needs torch nor imports it.
"""
from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import threading
import warnings

from . import import_hook, logs

__version__ = "0.1.0"
__all__ = ["register"]

# csrc/aten uses ATen's internal interfaces, which change between minor releases.
TORCH_OLDEST, TORCH_BELOW = (2, 13), (2, 14)

_lock = threading.Lock()
_registered = False
_brought_by_torch = False       # by our entry point, not by somebody's import statement


def _check_torch_version(version: str) -> None:
    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if not TORCH_OLDEST <= numbers < TORCH_BELOW:
        oldest, below = (".".join(map(str, bound)) for bound in (TORCH_OLDEST, TORCH_BELOW))
        raise ImportError(f"torch_usbgpu {__version__} was built for torch >={oldest},<{below}, but torch {version} is "
                          f"installed. Next: pip install 'torch>={oldest},<{below}'")


def _check_kernel_arguments(built_with: str) -> None:
    from .kernels.arguments import digest

    if built_with != digest():
        raise ImportError("torch_usbgpu._C was built with other kernel sources than lie beside it; their results would "
                          "be wrong. Next: build it again (make build, or pip install --force-reinstall torch_usbgpu)")


def register() -> None:
    """Makes the device `usbgpu` known to torch. Further calls do nothing.

    Raises:
        ImportError: torch is missing, of another version than ours, or `_C` was not built, or from other sources.
        ConfigError: an environment variable of ours holds something that we do not know.
    """
    global _registered
    # Outside the lock: at the end of its import torch itself comes here, by our entry point or import_hook.
    import torch

    with _lock:
        if _registered:
            return
        _check_torch_version(torch.__version__)
        # All checks come before anything global is changed: torch can be told only once.
        from . import _C, device_module, module_moves, safetensors_device  # noqa: F401  importing _C registers the operators

        _check_kernel_arguments(_C.kernel_arguments)
        device_module._configure_from_environment()
        torch.utils.rename_privateuse1_backend("usbgpu")
        torch._register_device_module("usbgpu", device_module)
        torch.utils.generate_methods_for_privateuse1_backend(for_tensor=True, for_module=True, for_packed_sequence=True,
                                                             for_storage=True)
        # `import torch.usbgpu` and pickles that name it
        sys.modules.setdefault("torch.usbgpu", device_module)
        _patch_dlpack_device(torch)
        module_moves.keep_parameters(torch)
        safetensors_device.teach()
        _registered = True


def _patch_dlpack_device(torch) -> None:
    """Tensor.__dlpack_device__ compares with the literal "privateuse1", which a renamed device is not."""
    original = torch.Tensor.__dlpack_device__

    def __dlpack_device__(self):
        if self.device.type == "usbgpu":
            return (torch.utils.dlpack.DLDeviceType.kDLExtDev, self.device.index or 0)
        return original(self)

    torch.Tensor.__dlpack_device__ = __dlpack_device__


def _autoload() -> None:
    """Entry point `torch.backends`, called at the end of `import torch`.

    Registers if the user asked for the device (USBGPU_DEVICE) or an adapter is attached: merely being
    installed must not change torch.accelerator. Never raises, because then `import torch` would fail for
    everybody; no device I/O, only a look at the list of USB devices.
    """
    try:
        if os.environ.get("USBGPU_DEVICE") or _adapter_is_attached():
            register()
    except Exception as error:  # noqa: BLE001
        logging.getLogger(__name__).warning("usbgpu is not available: %s", error)
    if _brought_by_torch and not _registered:
        # Else the program's own `import torch_usbgpu`, which does ask for the device, would find us and run nothing.
        for name in [name for name in sys.modules if name.partition(".")[0] == __name__]:
            del sys.modules[name]


def _adapter_is_attached() -> bool:
    try:
        from .usb.libusb import adapter_is_attached

        return adapter_is_attached()
    except Exception:  # noqa: BLE001  no libusb, no permission to list: then there is no adapter for us
        return False


def _register_at_import() -> None:
    """With torch at once, without it as soon as it comes; importing this package must not be what brings it."""
    global _brought_by_torch
    torch = sys.modules.get("torch")
    if torch is None:
        import_hook.after_import("torch", _register_behind_torch)
        return
    if getattr(torch.__spec__, "_initializing", False):
        # Another thread is importing torch: this waits for it. In torch's own thread it does not.
        importlib.import_module("torch")
        if getattr(torch.__spec__, "_initializing", False):
            _brought_by_torch = True
            return      # torch itself is loading our entry point, and asks _autoload next
    if _is_built():
        register()


def _register_behind_torch() -> None:
    """The same at the end of `import torch`, which must not fail because of us."""
    try:
        if _is_built():
            register()
    except Exception as error:  # noqa: BLE001
        warnings.warn(f"torch has no device usbgpu: {error}", stacklevel=2)


def _is_built() -> bool:
    if importlib.util.find_spec(f"{__name__}._C") is not None:
        return True
    warnings.warn("torch_usbgpu's operators are not built, so torch has no device usbgpu; only the driver works. "
                  "Next: pip install -e . in the checkout.", stacklevel=4)
    return False


logs.configure()
_register_at_import()
