"""Every Python block of the documentation runs, in the order of its page, against a real sandbox."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from cio_middleware import _default
from cio_middleware.testing import Sandbox

DOCS = Path(__file__).parents[2] / "docs"
SYBIL = Sybil(parsers=[PythonCodeBlockParser()], path=str(DOCS))
BLOCKS = {
    "explanation/privacy.md": 2,
    "how-to/automatic-events.md": 1,
    "how-to/deploy.md": 5,
    "how-to/dead-letters.md": 4,
    "how-to/flask.md": 2,
    "how-to/people.md": 7,
    "how-to/spool.md": 2,
    "how-to/starlette.md": 7,
    "how-to/typed-events.md": 2,
    "how-to/test-your-app.md": 4,
    "reference/differences.md": 1,
    "reference/verbs.md": 1,
    "reference/sandbox-stream.md": 1,
    "tutorials/first-event.md": 4,
}

ELSEWHERE = {"how-to/django.md"}
"""Each block goes into a file of its own: `test_django.py` puts them there."""


@pytest.fixture(name="surroundings")
def _surroundings(sandbox_server, monkeypatch):
    """What the pages tell their reader to export: a sandbox, its default workspace, any key."""
    with Sandbox(sandbox_server.url) as dev:
        dev.reset()
    on_sigterm = signal.getsignal(signal.SIGTERM)  # a page shows how to set it
    for name, value in {"BASE_URL": sandbox_server.url, "SITE_ID": "dev", "API_KEY": "dev"}.items():
        monkeypatch.setenv(f"CUSTOMERIO_{name}", value)
    yield
    signal.signal(signal.SIGTERM, on_sigterm)
    if (client := _default._DEFAULT.client) is not None:
        client.close()


@pytest.mark.parametrize("page", BLOCKS)
def test_the_blocks_of_a_page_run(page, surroundings):
    """A reader who types a page from top to bottom sees what it says, down to its assertions."""
    document = SYBIL.parse(DOCS / page)
    document.namespace["__name__"] = "shop"  # a framework looks up the module that it is made in
    examples = list(document.examples())

    for example in examples:
        example.evaluate()

    assert len(examples) == BLOCKS[page]


def test_no_block_is_left_out():
    """Every page with a Python block is in the table above, or has a test of its own."""
    assert {
        str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if "```python" in page.read_text("utf-8")
    } == set(BLOCKS) | ELSEWHERE
