"""Links in the documentation lead somewhere."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKS = [(page, target) for page in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "csrc" / "aten" / "README.md"]
         for target in re.findall(r"\]\((?!http)([^)#\s]+)", page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page, target", LINKS, ids=[f"{page.name}-{target}" for page, target in LINKS])
def test_link(page, target):
    assert (page.parent / target).exists()


def test_every_page_is_reachable_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, page.name
