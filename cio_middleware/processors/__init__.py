"""
Processors for what many applications need: keep values back, send a share, ask first.

    client = cio.Client(processors=[consent(ask), sample({"page_scrolled": 0.1}), redact(["password", "card*"])])

In this order: nobody's values are looked at who did not agree to it.
"""

from __future__ import annotations

from .consent import Asked, consent
from .redact import CARD_NUMBER, EMAIL, TOKEN, redact
from .sample import sample

__all__ = ["CARD_NUMBER", "EMAIL", "TOKEN", "Asked", "consent", "redact", "sample"]
