"""
What a client does when Customer.io fails: throw each fault once, and look at the ledger.

    python examples/bad_weather.py
"""

from __future__ import annotations

import cio_middleware as cio
from cio_middleware.testing import Sandbox

FAULTS = ["503", "429;retry_after=1", "reset", "ack_lost", "html", "partial=0"]


def main() -> None:
    """Send three events under each fault; only `partial` refuses one of them for good."""
    with Sandbox.running() as sandbox:
        settings = cio.Settings(**sandbox.settings, retry_base=0.01)
        for fault in FAULTS:
            sandbox.reset()
            sandbox.faults.script([fault, "ok*"])
            with cio.Client(settings) as client:
                for number in range(3):
                    client.track("order_placed", {"number": number}, person="ada")
                client.flush()
                stats = client.stats()
            print(
                f"{fault:18} stored {sandbox.count('order_placed')}  duplicates {sandbox.duplicates('order_placed')}"
                f"  retries {stats.retries}  dead letters {stats.dead_lettered}"
            )


if __name__ == "__main__":
    main()
