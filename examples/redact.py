"""
A processor sees every event before it leaves: here it hides email addresses, wherever they stand.

    python examples/redact.py
"""

from __future__ import annotations

import re

import cio_middleware as cio
from cio_middleware.testing import Sandbox

EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def hide_emails(event: cio.Event) -> cio.Event:
    """Return the event without addresses in its texts. If this raised, the event would be dropped and not sent."""
    hidden = {
        name: EMAIL.sub("[email]", value) if isinstance(value, str) else value
        for name, value in event.attributes.items()
    }
    return event.with_attributes(hidden)


def main() -> None:
    """Send what a customer wrote, and show what Customer.io got."""
    with Sandbox.running() as sandbox:
        settings = cio.Settings(**sandbox.settings)
        with cio.Client(settings, processors=[hide_emails]) as client:
            client.track("feedback_sent", {"text": "Write to ada@example.com!", "stars": 5}, person="ada")
            client.flush()
        (event,) = sandbox.events("feedback_sent")
        print(event.data["text"], event.data["stars"])


if __name__ == "__main__":
    main()
