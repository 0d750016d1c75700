"""waitress is threads in one process, which a signal ends as it ends any script."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

COMMANDS = {"module": ("waitress", "--listen", "127.0.0.1:{port}", "shop_wsgi:app"), "script": ("serve", "{port}")}
UNCLOSED = {"PYTHONWARNINGS": "default"}  # waitress leaves its own sockets open, and Python says so


@pytest.mark.parametrize(
    ("command", "how", "arrive"),
    [("module", signal.SIGINT, True), ("script", signal.SIGTERM, True), ("module", signal.SIGTERM, False)],
    ids=["ctrl-c", "sigterm-as-an-exit", "sigterm"],
)
def test_41_waitress_delivers_if_the_signal_is_an_exit(command, how, arrive, start, arrived):
    """Ctrl-C is one by itself, SIGTERM if the script makes it one; without that it ends the process at once."""
    server = start(*COMMANDS[command], **UNCLOSED)
    answers = [server.get(n) for n in range(3)]

    server.stop(how)
    sent = sorted(event_id for answer in answers for event_id in answer["sent"])
    assert arrived() == (sent if arrive else [])
    assert "Traceback" not in server.said


def test_41_ctrl_c_in_the_middle_of_a_request_loses_nothing_that_was_captured(start, gate, sandbox):
    """The request may be cut off; what it had captured by then arrives, once."""
    server = start(*COMMANDS["module"], **UNCLOSED)
    with ThreadPoolExecutor(1) as browser:
        browser.submit(server.get, 0, gate=gate.port)
        gate.until_one_waits()
        server.process.send_signal(signal.SIGINT)
        gate.open()

    server.wait()
    assert (sandbox.count("step"), sandbox.duplicates("step")) == (1, 0)
