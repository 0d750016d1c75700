"""The options of ``cio-middleware sandbox``, each by what it does, and each mistake by what it says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from cio_middleware.cli.ports import holder
from cio_middleware.sandbox.entrance import Access
from cio_middleware.sandbox.store import House
from cio_middleware.testing import Sandbox

COMMAND = [sys.executable, "-m", "cio_middleware", "sandbox"]


def refused(*arguments, **environ):
    """Run the command to its end, and return its exit code and what it said."""
    env = {**os.environ, **environ}
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False, env=env)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture(name="start")
def _start():
    started = []

    def start(*arguments):
        """Start the command on a free port, and return its banner, its URL and the process."""
        command = [*COMMAND, "--port", "0", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        text = ""
        while "Ctrl-C to stop." not in text:
            line = process.stdout.readline()
            assert line, process.communicate()
            text += line
        process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", text)
        assert url
        return text, url.group(), process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_host_that_others_reach_needs_a_token_and_says_so(start, web):
    """The banner warns, has the token as the key to paste, and a link that works once."""
    code, said = refused("--host", "0.0.0.0", "--port", "0")  # noqa: S104  # it is refused
    assert (code, "--token auto" in said) == (3, True)

    text, url, _ = start("--host", "0.0.0.0", "--token", "auto", "--allow-host", "sandbox.local")  # noqa: S104
    assert "OTHERS CAN REACH THIS" in text
    assert "Nothing leaves this computer" not in text
    assert "\x1b" not in text
    token = re.search(r"CUSTOMERIO_API_KEY=(\S+)", text)
    link = re.search(r"http://\S+/_sandbox/enter\?ticket=\S+", text)
    assert token
    assert link
    health = f"{url}/_sandbox/v1/health"
    assert web.get(health).status_code == 401
    assert web.get(health, headers={"X-Cio-Token": token[1], "Host": "sandbox.local"}).status_code == 200
    assert [web.get(link.group()).status_code for _ in range(2)] == [303, 403]
    web.cookies.clear()


def test_values_are_masked_in_the_terminal_too(start, web):
    """As everywhere else, and the banner says which."""
    text, url, process = start("--redact", "email, phone")
    assert "Masked in all that is shown: email, phone" in text
    web.put(f"{url}/api/v1/customers/ada%40example.com", json={"phone": "0171 555", "plan": "pro"}, auth=("dev", "k"))
    line = process.stdout.readline()
    assert "plan=pro" in line
    assert "ada@" not in line
    assert "0171" not in line


def test_strict_and_region_and_origin_are_taken(start, web):
    """Each changes what it is about."""
    _, url, _ = start("--strict", "--region", "eu", "--allow-origin", "http://localhost:3000")
    auth = ("dev", "k")
    assert web.get(f"{url}/api/v1/accounts/region", auth=auth).json()["region"] == "eu"
    web.post(f"{url}/api/v1/customers/ada/events", json={"name": "order"}, auth=auth)
    assert [row["name"] for row in web.get(f"{url}/_sandbox/v1/bad").json()["items"]] == ["order"]
    summary = web.get(f"{url}/_sandbox/v1/summary").json()
    assert (summary["good"], summary["bad"], summary["by_verdict"]["accepted_but"]) == (0, 1, 1)
    info = web.get(f"{url}/_sandbox/v1/info", headers={"Origin": "http://localhost:3000"})
    assert info.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert (info.json()["region"], info.json()["flags"]["strict"]) == ("eu", True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--port", "70000"], 2, "'70000' is no port: a number from 0 to 65535"),
        (["--port", "x"], 2, "'x' is no port"),
        (["--keep", "0"], 2, "'0' is no number of events"),
        (["--region", "mars"], 2, "invalid choice: 'mars'"),
        (["--token", "short"], 3, "12 to 200 letters"),
        (["--allow-host", "http://x"], 3, "Type for example: --allow-host sandbox.local"),
        (["--allow-origin", "x"], 3, "Type for example: --allow-origin http://localhost:3000"),
        (["--allow-webhook-host", "*"], 3, "Type for example: --allow-webhook-host"),
        (["--redact", "e*"], 3, "Type for example: --redact email,phone"),
        (["--host", "192.0.2.1"], 3, "--token auto"),
        (["--host", "192.0.2.1", "--token", "auto"], 3, "is no address of this machine"),
        (["--host", "no.such.host.invalid", "--token", "auto"], 3, "is no address of this machine"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_says_what_to_type(arguments, code, said):
    """Wrong usage is 2, a configuration that cannot be is 3, and neither shows a traceback."""
    port = [] if "--port" in arguments else ["--port", "0"]
    found, text = refused(*arguments, *port)
    assert (found, said in text) == (code, True), text


def test_a_busy_port_says_who_holds_it_and_what_to_type():
    """Another sandbox, one that asks for a token, or another program, by its name and number."""
    with Sandbox.running() as sandbox:
        code, said = refused("--port", sandbox.url.rpartition(":")[2])
    assert (code, f"cio sandbox {sandbox_version()} (pid {os.getpid()}, 0 workspaces)" in said) == (8, True), said
    with Sandbox.running(house=House(access=Access(token="auto"))) as sandbox:
        code, said = refused("--port", sandbox.url.rpartition(":")[2])
    assert (code, "asks for its token" in said) == (8, True)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, said = refused("--port", str(other.getsockname()[1]))
    assert (code, f"(pid {os.getpid()})" in said, "--port 0" in said) == (8, True, True), said


def sandbox_version():
    """The version that a sandbox says it is."""
    from importlib.metadata import version

    return version("cio-middleware")


def test_a_holder_that_cannot_be_seen_is_none(tmp_path):
    """On another system, or when the socket is another user's."""
    assert holder(1, tmp_path) is None
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("head\n 0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n")
    (tmp_path / "12" / "fd").mkdir(parents=True)
    assert holder(80, tmp_path) is None
    (tmp_path / "12" / "fd" / "3").symlink_to("socket:[4711]")
    (tmp_path / "12" / "comm").write_text("nginx\n")
    assert holder(80, tmp_path) == "nginx (pid 12)"
    assert holder(81, tmp_path) is None
