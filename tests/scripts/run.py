"""Runs Python code in a process of its own, as a user would."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 180


def environment(**extra: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("USBGPU_FALLBACK")}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **extra}


def run(code: str, *, stdin: str | None = None, arguments: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess:
    """stdin given: an interactive interpreter gets it line by line, and `code` must be empty."""
    command = [sys.executable, *(["-i", "-q"] if stdin is not None else ["-c", code]), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, cwd=ROOT,
                          env=environment(**env))


def output(code: str, **env: str) -> str:
    done = run(code, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
