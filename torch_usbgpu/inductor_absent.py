"""torch.compile's default backend writes kernels for devices that it has a code generator for, and there is none for
ours yet: it says so, and what works instead, where it would fail with a KeyError."""
from __future__ import annotations

import sys
from typing import Any, NoReturn

from . import import_hook

REGISTRY = "torch._inductor.codegen.common"


def say_so() -> None:
    """Now if the registry of code generators is there, else when it comes."""
    if REGISTRY in sys.modules:
        _register()
    else:
        import_hook.after_import(REGISTRY, _register)


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("torch.compile's backend 'inductor' has no code generator for usbgpu yet. Next: "
                              "torch.compile(..., backend='aot_eager'), which runs our own kernels one by one.")


class _Refusing(type):
    def __getattr__(cls, name: str) -> NoReturn:
        _refuse()


class _Absent(metaclass=_Refusing):
    __getattr__ = _refuse


def _register() -> None:
    common = sys.modules[REGISTRY]
    common.register_device_op_overrides("usbgpu", _Absent())
    common.register_backend_for_device("usbgpu", _refuse, _Absent)
