"""
Test doubles for applications: a local Customer.io, and a handle to look into it.

    with Sandbox.running() as sandbox:
        client = Client(Settings(**sandbox.settings))
        client.track("order_placed", {"total": 42}, person="ada")
        client.flush()
        sandbox.wait_for("order_placed", person="ada", data={"total": 42})
"""

from __future__ import annotations

from cio_middleware.testing._seen import (
    SeenAttempt,
    SeenEvent,
    SeenFault,
    SeenFinding,
    SeenPerson,
    SeenProblem,
    SeenRequest,
)
from cio_middleware.testing.awaited import AsyncSandbox
from cio_middleware.testing.memory import MemorySandbox
from cio_middleware.testing.sandbox import Sandbox

__all__ = [
    "AsyncSandbox",
    "MemorySandbox",
    "Sandbox",
    "SeenAttempt",
    "SeenEvent",
    "SeenFault",
    "SeenFinding",
    "SeenPerson",
    "SeenProblem",
    "SeenRequest",
]
