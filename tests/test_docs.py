"""Links in the documentation lead somewhere, and its Python runs."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from .scripts.run import output

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


# The pages of the emulator have tests of their own beside the emulator's.
@pytest.mark.parametrize("name", ["checking", "compiler", "pytorch"])
def test_python_of_a_page_runs(name):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    output("\n".join(blocks))
