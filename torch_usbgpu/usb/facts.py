"""Constants of the ASM2464PD, read from asm2464pd.json: the one place that holds them."""
from __future__ import annotations

import json
from pathlib import Path

FACTS: dict = json.loads(Path(__file__).with_name("asm2464pd.json").read_text(encoding="utf-8"))
