"""Runs a script, module or command text in this process, as the interpreter would."""
from __future__ import annotations

import io
import os
import runpy
import sys
import traceback
from pathlib import Path

from ...errors import ConfigError


def run_program(script: str | None, module: str | None, command: str | None, arguments: list[str]) -> int:
    """Returns the program's exit status. Its uncaught errors are shown as Python shows them.

    Raises:
        ConfigError: there is no such script.
    """
    argv, path0 = sys.argv, sys.path[0]
    try:
        if script is not None:
            if not Path(script).exists():
                raise ConfigError(f"There is no script {script}.", "Check its path.")
            sys.argv, sys.path[0] = [script, *arguments], str(Path(script).resolve().parent)
            runpy.run_path(script, run_name="__main__")
        elif module is not None:
            sys.argv, sys.path[0] = [module, *arguments], os.getcwd()
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = ["-c", *arguments], ""
            exec(compile(command or "", "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
        return 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except ConfigError:
        raise
    except Exception:
        text = io.StringIO()
        traceback.print_exc(file=text)
        print(_without_us(text.getvalue()), end="", file=sys.stderr)
        return 1
    finally:
        sys.argv, sys.path[0] = argv, path0


def _without_us(text: str) -> str:
    """The traceback from the program's own frames on."""
    lines = text.splitlines(keepends=True)
    hidden = (f'File "{__file__}"', "<frozen runpy>")
    out, skip = [], False
    for line in lines:
        if line.startswith("  File "):
            skip = any(mark in line for mark in hidden)
        elif not line.startswith("    "):
            skip = False
        if not skip:
            out.append(line)
    return "".join(out)
