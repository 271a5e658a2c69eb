"""torch.compile's default backend writes kernels for devices that it has a code generator for, and there is none for
ours yet: it says so, and what works instead, where it would fail with a KeyError."""
from __future__ import annotations

from typing import Any, NoReturn


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("torch.compile's backend 'inductor' has no code generator for usbgpu yet. Next: "
                              "torch.compile(..., backend='aot_eager'), which runs our own kernels one by one.")


class _Refusing(type):
    def __getattr__(cls, name: str) -> NoReturn:
        _refuse()


class _Absent(metaclass=_Refusing):
    __getattr__ = _refuse


def say_so() -> None:
    """Called as inductor looks for a code generator of ours."""
    from torch._inductor.codegen import common

    common.register_device_op_overrides("usbgpu", _Absent())
    common.register_backend_for_device("usbgpu", _refuse, _Absent)
