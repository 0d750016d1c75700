"""Links between the pages of this repository lead somewhere: the file is there, and so is its heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

MULTILINE = re.DOTALL | re.MULTILINE
BLOCK = re.compile(r"^(`{3,}).*?^\1$", flags=MULTILINE)
CODE = re.compile(rf"{BLOCK.pattern}|`[^`\n]+`", flags=MULTILINE)
LINK = re.compile(r"\]\(<?([^)\s>]+)|^\[[^\]]+\]:\s*(\S+)", flags=re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What can follow a # in a link to the page: its headings, in lower case and with hyphens."""
    headings = HEADING.findall(BLOCK.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere. Links out of the repository are not followed."""
    for inline, reference in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        link = urlsplit(inline or reference)
        if link.scheme or link.netloc:
            continue
        target = page.parent / unquote(link.path) if link.path else page
        if not target.exists() or (link.fragment and link.fragment not in anchors(target)):
            yield link.geturl()


def test_dead_links_are_found(tmp_path):
    """A missing file or heading is dead; links in code or out of the repository are not judged."""
    (tmp_path / "there.md").write_text("# One `word`, two\n```\n# no heading\n```\n", "utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "# Top\n[a](there.md) [b](there.md#one-word-two) [c](#top)\n"
        "[d](https://example.com/x) `[e](code.md)`\n"
        "```\n[f](code.md)\n```\n"
        "[g](gone.md) [h](there.md#no-heading) [i](#bottom) ![j](gone.png)\n\n[k]: gone/\n",
        "utf-8",
    )
    assert list(dead_links(page)) == ["gone.md", "there.md#no-heading", "#bottom", "gone.png", "gone/"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    """A reader who follows a link within the repository arrives."""
    assert not list(dead_links(page))
