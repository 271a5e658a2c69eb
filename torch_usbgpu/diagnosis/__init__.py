"""What is wrong, if anything, and what to do about it: the room behind `usbgpu doctor`."""
from __future__ import annotations

from .checks import CHECKS, Outcome, Report, examine
from .findings import Finding, finding, from_error
from .states import BY_NAME, STATES, State

__all__ = ["BY_NAME", "CHECKS", "STATES", "Finding", "Outcome", "Report", "State", "examine", "finding", "from_error"]
