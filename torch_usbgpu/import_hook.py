"""Runs something right after `import torch`, whenever that comes.

The driver must not pull in torch, which takes seconds and may be missing, and yet the device must be there as soon as
torch is. So one finder waits at the front of sys.meta_path for torch, lets the others find it, and adds a call behind
the module's own code. Nothing of it stays once torch is there.
"""
from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType


class _Watcher(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, then: Callable[[], None]) -> None:
        self.module, self._then = module, then
        self._asking = threading.local()

    def find_spec(self, name: str, path: Sequence[str] | None,
                  target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        # Another tool's finder may ask everybody in turn, this one included.
        if name != self.module or getattr(self._asking, "now", False):
            return None
        self._asking.now = True
        try:
            for finder in [finder for finder in sys.meta_path if finder is not self]:
                find = getattr(finder, "find_spec", None)
                spec = find(name, path, target) if find else None
                if spec is not None:
                    self._add_to(spec.loader)
                    return spec
            return None
        finally:
            self._asking.now = False

    def _add_to(self, loader) -> None:
        """The loader keeps its class and everything else that others ask of it; only this instance's call changes."""
        original = getattr(loader, "exec_module", None)
        if original is None:
            return

        def exec_module(module: ModuleType) -> None:
            loader.__dict__.pop("exec_module", None)
            original(module)
            forget(self.module)
            self._then()

        loader.exec_module = exec_module


def after_import(module: str, then: Callable[[], None]) -> None:
    """Call `then` once, when the code of `module` (its full name) has run. The module must not be imported yet."""
    forget(module)
    sys.meta_path.insert(0, _Watcher(module, then))


def forget(module: str) -> None:
    """Wait for `module` no longer."""
    sys.meta_path[:] = [finder for finder in sys.meta_path
                        if not (isinstance(finder, _Watcher) and finder.module == module)]
