"""Metadata is in pyproject.toml; here only the native build, which ninja does (csrc/build.py)."""
import importlib.util
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def native():
    spec = importlib.util.spec_from_file_location("usbgpu_build", ROOT / "csrc" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class NinjaBuild(build_ext):
    """Builds all modules in place, then lets setuptools copy them into a wheel."""

    def run(self):
        native().build(["emulator", "runtime", "C"])
        if not self.inplace:
            for extension in self.extensions:
                target = Path(self.get_ext_fullpath(extension.name))
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(ROOT / self.get_ext_filename(extension.name)), str(target))


setup(
    ext_modules=[Extension(f"torch_usbgpu.{name}", sources=[]) for name in ("_emulator", "_runtime", "_C")],
    cmdclass={"build_ext": NinjaBuild},
)
