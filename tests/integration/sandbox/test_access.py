"""Who may reach the sandbox, and what becomes of who may not: names, origins, tokens, slow and crooked requests."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox.entrance import Access
from cio_middleware.sandbox.server import SandboxServer
from cio_middleware.sandbox.store import House
from cio_middleware.sandbox.veil import Veil
from cio_middleware.testing import Sandbox

ROOT = "/_sandbox/v1"
MIB = 1024 * 1024
TOKEN = "a-token-of-some-length"
HEADER = {"X-Cio-Token": TOKEN}


@pytest.fixture(name="guarded", scope="module")
def _guarded():
    """A sandbox that listens on all addresses, and asks for a token."""
    access = Access(hosts=("Sandbox.local", "named:81"), origins=("http://localhost:3000",), token=TOKEN)
    with SandboxServer("0.0.0.0", house=House(access=access), environ={}) as server:  # noqa: S104  # that it may is the test
        yield server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104


def basic(site, key):
    """The header of Basic credentials."""
    return {"Authorization": "Basic " + base64.b64encode(f"{site}:{key}".encode()).decode()}


@pytest.mark.parametrize(
    "path",
    [f"{ROOT}/health", f"{ROOT}/events", f"{ROOT}/export.ndjson", "/", "/api/v1/accounts/region", "/favicon.ico"],
)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-Cio-Token": TOKEN + "x"}, 401),
        ({"X-Cio-Token": ""}, 401),
        ({"X-Cio-Token": b"\xff"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        (basic(TOKEN, "key"), 401),
        ({"Cookie": f"cio_sandbox={TOKEN}"}, 401),
        (HEADER, 200),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        (basic("shop", TOKEN), 200),
    ],
    ids=lambda value: str(value)[:40],
)
def test_s20_every_call_needs_the_token(guarded, web, path, headers, status):
    """Looks, changes, the page and the emulated calls; as a header, a Bearer or the key, and nowhere else."""
    reply = web.get(guarded + path, headers=headers)
    assert ("CIO-SBX-010" in reply.text) is (status == 401)
    assert TOKEN not in reply.text
    if status == 401:
        assert reply.status_code == 401


def test_s24_the_token_as_the_key_lets_an_app_deliver(guarded, web):
    """It needs no header of its own: the variable that holds its key holds the token. It is stored nowhere."""
    for path in ("ada", "ada/events"):
        method = "PUT" if path == "ada" else "POST"
        body = {"name": "order"} if "/" in path else {}
        url = f"{guarded}/api/v1/customers/{path}"
        assert web.request(method, url, json=body, headers=basic("shop", TOKEN)).status_code == 200
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    web.post(f"{guarded}/v1/track", json={"userId": "ada", "event": "order"}, headers=bearer)
    web.put(f"{guarded}/api/v1/customers/ada", json={}, headers={**basic(TOKEN, "key"), **HEADER})
    seen = web.get(f"{guarded}{ROOT}/export.ndjson?workspace=shop", headers=HEADER)
    assert '"ada"' in seen.text
    assert TOKEN not in seen.text
    assert TOKEN not in web.get(f"{guarded}{ROOT}/info", headers=HEADER).text


def test_s20_a_link_lets_one_browser_in_once(guarded, web):
    """It sets a cookie that no script reads and no other site sends; whoever opens it again is refused."""
    link = web.post(f"{guarded}{ROOT}/ticket", headers={**HEADER, "X-Cio-Sandbox": "1"}).json()["link"]
    opened = web.get(link)
    assert (opened.status_code, opened.headers["location"]) == (303, "/")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    web.cookies.clear()
    assert web.get(link).status_code == 403

    name_and_value = cookie.partition(";")[0]
    assert web.get(f"{guarded}{ROOT}/events", headers={"Cookie": f"a=b; {name_and_value}; c=d"}).status_code == 200
    assert web.get(f"{guarded}{ROOT}/events", headers={"Cookie": name_and_value + "x"}).status_code == 401
    assert (
        web.get(f"{guarded}{ROOT}/events", headers={"Cookie": name_and_value, "Host": "evil.example"}).status_code
        == 421
    )
    change = {"Cookie": name_and_value, "Origin": "http://evil.example", "X-Cio-Sandbox": "1"}
    assert web.post(f"{guarded}{ROOT}/reset", headers=change).status_code == 403
    for path in ("/_sandbox/enter", "/_sandbox/enter?ticket=", "/_sandbox/enter?ticket=x&ticket=y"):
        assert web.get(guarded + path).status_code == 403


def test_s23_of_many_links_the_newest_work(guarded, web):
    """A loop that asks for links fills no memory."""
    headers = {**HEADER, "X-Cio-Sandbox": "1"}
    links = [web.post(f"{guarded}{ROOT}/ticket", headers=headers).json()["link"] for _ in range(25)]
    assert [web.get(link).status_code for link in (links[0], links[-1])] == [403, 303]
    web.cookies.clear()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("sandbox.local", 200),
        ("SANDBOX.LOCAL:8246", 200),
        ("named:81", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8246", 200),
        ("named", 421),
        ("named:82", 421),
        ("a.sandbox.local", 421),
        ("sandbox.local.evil.example", 421),
        ("sandbox.local:80:80", 421),
        ("sandbox.local@evil.example", 421),
        ("evil.example", 421),
        ("192.168.1.1", 421),
        ("0x7f000001", 421),
        ("127.1", 421),
        ("sandbox.local.", 421),
        ("", 421),
    ],
)
def test_s21_it_answers_to_names_that_were_given(guarded, web, host, status):
    """Each exactly, with its port if it was given one; a name that an attacker points here is none of them."""
    assert web.get(f"{guarded}{ROOT}/health", headers={**HEADER, "Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "http://localhost:3001"}, 403),
        ({"Origin": "https://localhost:3000"}, 403),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
    ids=str,
)
def test_s20_only_pages_of_its_own_and_of_allowed_origins_may_call(guarded, web, headers, status):
    """Scheme, name and port count; another port of this machine is another page, but may link here."""
    port = guarded.rpartition(":")[2]
    given = {name: value.replace("{port}", port) for name, value in headers.items()}
    assert web.get(f"{guarded}{ROOT}/health", headers={**HEADER, **given}).status_code == status


def test_s20_an_allowed_origin_is_told_so_and_no_other(guarded, web):
    """A preflight is granted to it alone; without --allow-origin no control call ever has such a header."""
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "PUT"}
    granted = web.options(f"{guarded}/api/v1/customers/ada", headers=asked)
    assert granted.status_code == 204
    assert granted.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "Authorization" in granted.headers["access-control-allow-headers"]
    said = {"Origin": "http://localhost:3000", **basic("shop", TOKEN)}
    put = web.put(f"{guarded}/api/v1/customers/ada", json={}, headers=said)
    assert put.headers.get_list("access-control-allow-origin") == ["http://localhost:3000"]
    for headers in ({**asked, "Origin": "http://localhost:3001"}, {"Access-Control-Request-Method": "PUT"}):
        refused = web.options(f"{guarded}/api/v1/customers/ada", headers=headers)
        assert refused.status_code in {401, 403}
        assert "access-control-allow-origin" not in refused.headers


def test_s20_a_page_that_was_not_allowed_injects_no_event(sandbox, web):
    """What a page can send without asking is a form, and that brings its Origin; a preflight is never granted."""
    url = f"{sandbox.url}/api/v1/customers/ada/events"
    form = {"Origin": "http://127.0.0.1:9", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}
    assert web.post(url, content=b'{"name": "x"}', headers=form, auth=(sandbox.site_id, "k")).status_code == 403
    preflight = web.options(url, headers={**form, "Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 403
    assert "access-control-allow-origin" not in preflight.headers
    assert sandbox.events() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hosts": ("http://x",)}, "is no host name. Type for example: --allow-host"),
        ({"hosts": ("*",)}, "is no host name"),
        ({"hosts": ("",)}, "is no host name"),
        ({"hosts": ("a b",)}, "is no host name"),
        ({"origins": ("localhost:3000",)}, "is no origin. Type for example: --allow-origin"),
        ({"origins": ("http://x/path",)}, "is no origin"),
        ({"origins": ("*",)}, "is no origin"),
        ({"token": "short"}, "12 to 200 letters"),
        ({"token": "has a space in it"}, "12 to 200 letters"),
        ({"token": "has:a:colon:in:it"}, "12 to 200 letters"),
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_one_is_refused(given, said):
    """At the start, with what to type, and never with the token in it."""
    with pytest.raises(ConfigurationError, match=said) as raised:
        Access(**given)
    assert given.get("token", "none") not in str(raised.value)


def test_a_token_is_made_up_and_not_shown():
    """`auto` gives another one each time, and no repr has it."""
    one, other = Access(token="auto"), Access(token="auto")
    assert one.token != other.token
    assert len(str(one.token)) >= 32
    assert str(one.token) not in repr(House(access=one))


def test_s20_without_a_token_it_stays_on_this_machine():
    """Even with names and origins allowed."""
    with pytest.raises(ConfigurationError, match="--token auto"):
        SandboxServer("0.0.0.0", house=House(access=Access(hosts=("x",))), environ={})  # noqa: S104  # refused


# ----------------------------------------------------------------------------------------- crooked and slow requests


def talk(url, *parts):
    """Send bytes as they are, and return all that is answered."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port), timeout=10) as line:
        for part in parts:
            line.sendall(part)
        return b"".join(iter(lambda: line.recv(65536), b""))


HEALTH = b"GET /_sandbox/v1/health HTTP/1.1\r\n"
CLOSE = b"Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (HEALTH + b"Host: 127.0.0.1\r\nHost: evil.example\r\n" + CLOSE, {400}),
        (HEALTH + b"Host : 127.0.0.1\r\n" + CLOSE, {400}),
        (HEALTH + b" Host: 127.0.0.1\r\n" + CLOSE, {400}),
        (HEALTH + CLOSE, {400, 421}),
        (HEALTH + b"Host: 127.0.0.1\r\nX-A: b\r\n Host: evil\r\n" + CLOSE, {400, 200}),
        (b"GET http://evil.example/_sandbox/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE, {401, 404}),
        (b"GET /_sandbox/v1/health HTTP/1.0\r\nHost: evil.example\r\n" + CLOSE, {421}),
        (
            b"POST /_sandbox/v1/reset HTTP/1.1\r\nHost: 127.0.0.1\r\nX_Cio_Sandbox: 1\r\nContent-Length: 0\r\n" + CLOSE,
            {403},
        ),
        (
            b"POST /_sandbox/v1/reset HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n"
            + CLOSE,
            {400},
        ),
        (
            b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
            + CLOSE
            + b"0\r\n\r\nPOST /_sandbox/v1/reset HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Cio-Sandbox: 1\r\n\r\n",
            {400, 404},
        ),
        (b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip, chunked\r\n" + CLOSE, {400, 501}),
        (HEALTH + b"Host: 127.0.0.1\r\nX-A: " + b"a" * 17_000 + b"\r\n" + CLOSE, {400, 431}),
        (HEALTH + b"Host: 127.0.0.1\r\n" + b"X-A: b\r\n" * 2_500 + CLOSE, {400, 431}),
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE, {400, 431}),
        (b"GET /_sandbox/v1/../../_sandbox/v1/reset HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE, {404}),
        (b"GET /_sandbox/%2e%2e/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE, {404}),
        (b"POST //_sandbox/v1/reset HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n" + CLOSE, {401, 404}),
        (b"POST /%5fsandbox/v1/reset HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n" + CLOSE, {403}),
        (b"POST /_SANDBOX/v1/reset HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n" + CLOSE, {401, 404}),
        (b"GET /_sandbox/v1/events/..%2f..%2fetc HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE, {400, 404}),
        (b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + CLOSE, {400}),
        (b"\x16\x03\x01\x02\x00", {400}),
    ],
    ids=range(22),
)
def test_s21_a_crooked_request_gets_nowhere(own_sandbox, request_bytes, statuses):
    """Smuggled headers, doubled lengths, paths in disguise: refused, and what is there stays."""
    httpx.put(f"{own_sandbox.url}/api/v1/customers/ada", json={}, auth=("dev", "key"))
    answer = talk(own_sandbox.url, request_bytes)
    assert int(answer.split(b" ", 2)[1]) in statuses, answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert own_sandbox.people["ada"]


def test_s23_the_limit_of_a_head_is_sixteen_kilobytes(own_sandbox, web):
    """A head of fifteen is read, whole or in pieces."""
    filling = b"X-A: " + b"a" * 15_000 + b"\r\n"
    assert talk(own_sandbox.url, HEALTH + b"Host: 127.0.0.1\r\n", filling, CLOSE).startswith(b"HTTP/1.1 200")
    long = web.get(f"{own_sandbox.url}{ROOT}/events?q=" + "a" * 16_400)
    assert long.status_code in {400, 431}


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /_sandbox/v1/hea",
        HEALTH + b"Host: 127.0.0.1\r\nX-A: ",
        HEALTH + b"Host: 127.0.0.1\r\n\r\n" + HEALTH + b"Host: 127",
        b"PUT /api/v1/customers/ada HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
        b"PUT /api/v1/customers/ada HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"POST /_sandbox/v1/wait HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Cio-Sandbox: 1\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["nothing", "line", "head", "second-head", "body", "chunk", "control"],
)
def test_s23_whoever_sends_too_slowly_is_let_go(beginning):
    """A head or a body that never ends holds nothing for ever, and costs nobody else anything."""
    with Sandbox.running(house=House(patience=0.2)) as sandbox:
        ended = threading.Event()

        def dawdle():
            talk(sandbox.url, beginning)
            ended.set()

        thread = threading.Thread(target=dawdle, daemon=True)
        thread.start()
        assert sandbox.events() == []
        assert ended.wait(8)
        thread.join()
        assert sandbox.events() == []


def test_a_connection_that_rests_between_two_requests_is_kept(web):
    """Patience is for whoever has begun, not for a client that keeps its connection."""
    with Sandbox.running(house=House(patience=0.1)) as sandbox, httpx.Client(base_url=sandbox.url) as client:
        assert client.get(f"{ROOT}/health").is_success
        line = client.get(f"{ROOT}/health").extensions["network_stream"]
        sandbox.assert_not_tracked("nothing", settle=0.4)
        assert client.get(f"{ROOT}/health").extensions["network_stream"].get_extra_info(
            "socket"
        ) is line.get_extra_info("socket")


def test_s22_no_control_call_inflates_a_body(sandbox, web):
    """A bomb is refused before a byte of it is unfolded."""
    headers = {"X-Cio-Sandbox": "1", "Content-Encoding": "gzip"}
    for path in ("/wait", "/faults", "/import", "/reset"):
        reply = web.post(f"{sandbox.url}{ROOT}{path}", content=b"\x1f\x8b", headers=headers)
        assert (reply.status_code, "content-encoding 'gzip'" in reply.text) == (400, True)


def peak(process):
    """The most memory that a process has had so far, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def test_s22_s23_no_body_grows_the_sandbox(web):
    """A bomb of 200 MiB, and bodies of 8 MiB that are refused while they come: its memory stays where it was."""
    bomb = gzip.compress(bytes(200 * MIB))
    command = [sys.executable, "-m", "cio_middleware", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        url = found.group()
        web.put(f"{url}/api/v1/customers/ada", json={}, auth=("dev", "k"))
        before = peak(process)
        packed = {"Content-Encoding": "gzip"}
        paths = {"/v1/track": ("key", ""), "/api/v2/batch": ("dev", "k"), f"{ROOT}/import": ("dev", "k")}
        for path, auth in paths.items():
            for _ in range(3):
                headers = {**packed, "X-Cio-Sandbox": "1"}
                web.post(url + path, content=bomb, headers=headers, auth=auth, timeout=20)
                chunked = (b" " * 65_536 for _ in range(128))
                big = web.post(f"{url}/api/v2/batch", content=chunked, auth=("dev", "k"), timeout=20)
                assert big.status_code == 413
        assert peak(process) - before < 40 * MIB
        process.kill()


def test_s24_a_stream_is_masked_too():
    """What comes while somebody looks on is masked as what they find."""
    with Sandbox.running(house=House(veil=Veil(("email",)))) as sandbox:
        auth = ("dev", "key")
        httpx.put(f"{sandbox.url}/api/v1/customers/ada", json={}, auth=auth)
        with httpx.stream("GET", f"{sandbox.url}{ROOT}/stream?workspace=dev", timeout=5) as stream:
            lines = stream.iter_lines()
            next(line for line in lines if "hello" in line)
            httpx.put(f"{sandbox.url}/api/v1/customers/ada", json={"email": "ada@example.com"}, auth=auth)
            row = next(line for line in lines if line.startswith("data:") and "email" in line)
        assert "masked-" in row
        assert "ada@" not in row


# ------------------------------------------------------------------------------------------------------ what is kept


@pytest.mark.parametrize(
    ("key", "kept"), [("a1b2c3d4e5f6a7b8c9d0", "…c9d0 sha256:"), ("dev", "3 characters")], ids=["long", "short"]
)
def test_s24_a_key_is_kept_as_its_end_and_a_hash(sandbox, web, key, kept):
    """Enough to see which key an app used, and not enough to use it; of a short one, only how short."""
    web.put(f"{sandbox.url}/api/v1/customers/ada", json={}, auth=(sandbox.site_id, key))
    row = web.get(f"{sandbox.url}{ROOT}/requests", params={"workspace": sandbox.site_id}).json()["items"][0]
    assert row["key"].startswith(kept)
    assert f'"{key}' not in json.dumps(row)
    assert f":{key}" not in json.dumps(row)


def test_s24_masked_fields_are_masked_wherever_they_are_shown(web):
    """In lists, details, people, requests, problems and the export: the values never leave, whoever asks."""
    with Sandbox.running(house=House(veil=Veil(("email", "phone")))) as sandbox:
        auth = ("dev", "key")
        url = f"{sandbox.url}/api/v1/customers"
        person = {"email": "ada@example.com", "phone": "0171 5551234", "plan": "pro", "note": "or +49 171 5559999"}
        web.put(f"{url}/ada", json=person, auth=auth)
        web.put(f"{url}/bob%2Bx%40example.org", content='{"em\\u0061il": "bob+x\\u0040example.org"}', auth=auth)
        web.post(
            f"{url}/ada/events", json={"name": "x", "data": {"to": ["eve@example.net"], "phone": 1715550000}}, auth=auth
        )
        web.post(f"{url}/ada/events", json={"name": "mail to ada@example.com"}, auth=auth)
        paths = ["/events", "/good", "/bad", "/people", "/people/ada", "/requests", "/summary", "/export.ndjson"]
        paths += [f"/events/{seq}" for seq in range(1, 5)] + ["/events?q=naem:eve@example.net"]
        for path in paths:
            shown = web.get(f"{sandbox.url}{ROOT}{path}").text
            for secret in ("ada@", "bob+x", "bob%2Bx", "eve@", "0171 555", "+49 171", "1715550000"):
                assert secret not in shown, (path, secret)
        seen = sandbox.people["ada"]
        assert seen.attributes["plan"] == "pro"
        assert seen.attributes["email"].endswith("@email.invalid")
        mask = seen.attributes["email"]
        assert sandbox.people[mask].key == "ada"
        assert [row.seq for row in sandbox.events(person=mask)] == []
        found = web.get(f"{sandbox.url}{ROOT}/events", params={"q": f'"{mask}"'}).json()
        assert [row["seq"] for row in found["items"]] == [4, 1]
        assert sandbox.wait_for("x", person="ada", verdict="accepted_but").data["to"][0].startswith("masked-")
