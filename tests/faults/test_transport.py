"""What the transports owe whoever calls them: a hidden key, time kept, proxies used, nothing that piles up."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import gc
import signal
import socket
import ssl
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import httpcore
import httpx
import pytest

import cio_middleware as cio
from cio_middleware.transports._deadline import _Network
from cio_middleware.transports.http import HttpTransport
from cio_middleware.typing import Failure, Request

KEY = "k3y-that-nobody-may-see"
SECRETS = (KEY, base64.b64encode(f"site:{KEY}".encode()).decode())
SHOP = "http://shop.example"


def direct(url: str, **changes) -> cio.Client:
    """A client that delivers before it returns, once and for all."""
    plain = {"site_id": "site", "api_key": KEY, "backend": "direct", "retries": 0, "timeout": 10.0}
    return cio.Client(cio.Settings(**{**plain, "base_url": url, "allow_insecure": True, **changes}))


def send(client: cio.Client, way: str) -> str | None:
    """Capture one event, by a thread's verb or an awaited one."""
    if way == "sync":
        return client.track("step", person="ada")

    async def main() -> str | None:
        return await client.atrack("step", person="ada")

    return asyncio.run(main())


def report(error: BaseException) -> str:
    """An exception as an error tracker sends it, with the values of every frame's variables."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def ends(what: Callable[[], object], within: float = 15.0) -> bool:
    """Whether it comes to an end, in a thread of its own so that the test does in any case."""
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    thread.join(within)
    return not thread.is_alive()


@pytest.fixture(autouse=True)
def _no_proxy(no_proxy):
    """The machine's own proxies are not the tests'."""


@pytest.fixture(name="interrupt")
def _interrupt() -> Iterator[Callable[[BaseException], Callable[..., None]]]:
    """Makes a server that, instead of an answer, has a signal's handler raise in the main thread."""
    before = signal.getsignal(signal.SIGUSR1)

    def server(error: BaseException) -> Callable[..., None]:
        def handler(*_: object) -> None:
            raise error

        signal.signal(signal.SIGUSR1, handler)
        main = threading.main_thread().ident
        assert main is not None
        return lambda *_: signal.pthread_kill(main, signal.SIGUSR1)

    yield server
    signal.signal(signal.SIGUSR1, before)


# ------------------------------------------------------------------------------------------------------------- the key


@pytest.mark.parametrize("route", ["straight", "by proxy"])
def test_a_cancelled_call_reports_no_key(serve, monkeypatch, route):
    """The exception of a call that is cut short holds the key in no variable of any frame."""
    server = serve(lambda *_: None)
    if route == "by proxy":
        monkeypatch.setenv("http_proxy", server.url)
    client = direct(server.url if route == "straight" else SHOP)

    async def main() -> None:
        async with asyncio.timeout(0.3):
            await client.atrack("step", person="ada")

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    assert server.requests
    assert not any(secret in report(caught.value) for secret in SECRETS)


@pytest.mark.parametrize("route", ["straight", "by proxy"])
def test_an_interrupted_call_reports_no_key(serve, interrupt, monkeypatch, route):
    """The same for Ctrl-C; what the caller was handling meanwhile keeps its variables."""
    server = serve(interrupt(KeyboardInterrupt()))
    if route == "by proxy":
        monkeypatch.setenv("http_proxy", server.url)
    client = direct(server.url if route == "straight" else SHOP)

    def order() -> None:
        total = "the order's own variable"
        raise LookupError(len(total))

    def recover() -> None:
        try:
            order()
        except LookupError:
            client.track("step", person="ada")

    with pytest.raises(KeyboardInterrupt) as caught:
        recover()
    assert not any(secret in report(caught.value) for secret in SECRETS)
    assert isinstance(caught.value.__context__, LookupError)
    assert "the order's own variable" in report(caught.value.__context__)


def test_a_thread_that_waits_holds_no_key(serve, eventually):
    """Nor has a waiting thread the key in a variable, for whoever looks at all threads."""
    server = serve(lambda *_: None)
    client = direct(server.url)
    thread = threading.Thread(target=client.track, args=("step",), kwargs={"person": "ada"}, daemon=True)
    thread.start()

    def frames() -> list:
        walked = traceback.walk_stack(sys._current_frames().get(thread.ident or 0))
        return [frame for frame, _ in walked]

    eventually(lambda: any(frame.f_code.co_name == "_receive_event" for frame in frames()))
    seen = "".join(repr(frame.f_locals) for frame in frames())
    server.close()
    thread.join(10)
    assert "_receive_event" in seen or "buffer" in seen or "max_bytes" in seen
    assert not any(secret in seen for secret in SECRETS)


# ------------------------------------------------------------------------------------------- whose exception it was


class SoftTimeLimitExceeded(Exception):
    """Celery's, in all but name."""


class JobTimeout(TimeoutError):
    """A limit that httpcore takes for a socket's."""


@pytest.mark.parametrize("limit", [SoftTimeLimitExceeded(), JobTimeout(), KeyboardInterrupt()], ids=repr)
def test_what_a_signals_handler_raises_reaches_the_application(serve, interrupt, limit):
    """A limit on the application's own time ends the call, even where the library had wrapped it."""
    server = serve(interrupt(limit))
    client = direct(server.url)
    with pytest.raises(type(limit)) as caught:
        client.track("step", person="ada")
    assert caught.value is limit
    assert client.stats().balanced
    assert client.stats().pending == 0


def test_a_given_clients_exceptions_are_all_failures(serve, interrupt):
    """Nobody knows what a foreign client raises, so it cannot hurt the caller."""
    server = serve(interrupt(SoftTimeLimitExceeded()))
    with httpx.Client() as http:
        answer = HttpTransport(lambda: ("site", KEY), http).send(server.url, Request("/", "/", b"{}"), 10.0)
    assert isinstance(answer, Failure)
    assert answer.error.endswith("SoftTimeLimitExceeded")


def interrupted_in(where: str, handler: Callable[[], object], what: Callable[[], object]) -> Callable[[], None]:
    """The same call, in which something else runs once, when a function of that name starts: as a signal's handler."""
    left = iter([handler])

    def look(frame, event, _):
        if event == "call" and frame.f_code.co_name == where:
            next(left, bool)()

    def run() -> None:
        sys.setprofile(look)
        try:
            what()
        finally:
            sys.setprofile(None)
        assert next(left, None) is None

    return run


@pytest.mark.parametrize("where", ["_make_client", "_make_pool"])
def test_a_signals_handler_may_send_inside_a_send(serve, answer, where):
    """A thread that is interrupted while it makes the pool may come again, and no pool is lost."""
    connections = set()

    def how(connection, _):
        connections.add(connection)
        connection.sendall(answer("200 OK"))

    server = serve(how)
    transport = HttpTransport(lambda: ("site", KEY))

    def post() -> None:
        assert not isinstance(transport.send(server.url, Request("/", "/", b"{}"), 10.0), Failure)

    assert ends(interrupted_in(where, post, post))
    transport.close()
    assert (len(server.requests), len(connections)) == (2, 1)


def test_a_signals_handler_may_capture_inside_a_delivery(sandbox):
    """Under the lock of httpcore's own pool, too, a thread may capture another event."""
    client = direct(sandbox.url, site_id=sandbox.site_id)
    inner, outer = (functools.partial(client.track, name, person="ada") for name in ("inner", "outer"))
    assert ends(interrupted_in("_assign_requests_to_connections", inner, outer))
    client.close()
    assert (sandbox.count("inner"), sandbox.count("outer")) == (1, 1)


# ----------------------------------------------------------------------------------------------------- nothing piles up


def descriptors() -> int:
    """How many files and sockets this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


def run_rudely(main) -> None:
    """Run a loop as those do who do not know `asyncio.run`: its generators are not closed before it is."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.parametrize("run", [asyncio.run, run_rudely])
def test_a_loop_per_call_keeps_no_connection(sandbox, eventually, run):
    """A hundred loops, one after the other, leave no socket behind and are let go themselves."""
    client = direct(sandbox.url, site_id=sandbox.site_id)
    loops: list[weakref.ref] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        assert await client.atrack("step", person="ada")

    run(main())
    before = descriptors()
    gc.disable()
    try:
        for _ in range(100):
            run(main())
        eventually(lambda: descriptors() <= before + 10)
    finally:
        gc.enable()
    asyncio.run(main())  # lets go of a loop that was closed rudely
    gc.collect()
    assert [loop() for loop in loops] == [None] * 102


def test_one_loop_keeps_its_connection(serve, answer):
    """As long as a loop lives, its events share one connection."""
    connections = set()

    def how(connection, _):
        connections.add(connection)
        connection.sendall(answer("200 OK"))

    client = direct(serve(how).url)

    async def main() -> None:
        for _ in range(5):
            assert await client.atrack("step", person="ada")
        await client.aclose()

    asyncio.run(main())
    assert len(connections) == 1


def test_threads_share_one_pool(sandbox, monkeypatch):
    """Threads whose first events meet make one pool, so that no connection is lost in another."""
    made: list[threading.Thread] = []
    met = threading.Event()

    class Slow(httpcore.ConnectionPool):
        def __init__(self, *args, **kwargs) -> None:
            made.append(threading.current_thread())
            if len(made) > 1:
                met.set()
            met.wait(0.3)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(httpcore, "ConnectionPool", Slow)
    with direct(sandbox.url, site_id=sandbox.site_id) as client:
        threads = [threading.Thread(target=client.track, args=("step",), kwargs={"person": "ada"}) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(made) == 1
    assert sandbox.count("step") == 8


@pytest.mark.parametrize(("scheme", "contexts"), [("http", 0), ("https", 1)])
def test_a_loop_never_reads_certificates(monkeypatch, scheme, contexts):
    """One context for https, made in a thread, however many loops and tasks there are; none for http."""
    made: list[threading.Thread] = []
    real = ssl.SSLContext.load_verify_locations

    def read(*args, **kwargs):
        made.append(threading.current_thread())
        return real(*args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", read)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    client = direct(f"{scheme}://127.0.0.1:{port}")

    async def main() -> None:
        await asyncio.gather(*(client.atrack("step", person="ada") for _ in range(5)))

    for _ in range(3):
        asyncio.run(main())
    assert len(made) == contexts
    assert threading.current_thread() not in made


# -------------------------------------------------------------------------------------------------------- time is kept


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_flood_of_continue_is_cut_at_the_deadline(serve, way):
    """A server that says `100 Continue` for ever, and always has more to read, is given up all the same."""

    def flood(connection: socket.socket, _: bytes) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)

    client = direct(serve(flood).url, timeout=0.5)
    assert ends(lambda: send(client, way))
    assert client.stats().dropped == {cio.DropReason.RETRIES_EXHAUSTED: 1}


def test_all_addresses_of_a_host_share_one_deadline(silent, resolve):
    """A host with many addresses that are all silent takes `timeout` in all, not each."""
    port = silent("127.0.0.1")
    resolve["shop.example"] = ["127.0.0.1"] * 15
    client = direct(f"{SHOP}:{port}", timeout=1.0)
    started = time.monotonic()
    client.track("step", person="ada")
    assert time.monotonic() - started < 8.0
    assert client.stats().dropped == {cio.DropReason.RETRIES_EXHAUSTED: 1}


def test_a_silent_address_leaves_time_for_the_next(serve, answer, silent, resolve):
    """A host whose first address is dead, as with half an IPv6, is reached at its second."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    port = int(server.url.rpartition(":")[2])
    silent("127.0.0.2", port)
    resolve["shop.example"] = ["127.0.0.2", "127.0.0.1"]
    with direct(f"{SHOP}:{port}", timeout=2.0) as client:
        assert client.track("step", person="ada")
        assert client.stats().delivered == 1


def test_a_slow_reader_does_not_stretch_the_deadline():
    """A write ends when the time is up, however long the other side goes on to take a little."""
    stop = threading.Event()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while connection.recv(4096) and not stop.wait(0.05):
                    pass

        reader = threading.Thread(target=trickle)
        reader.start()
        until = time.monotonic() + 1.0
        narrow = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)]
        stream = _Network(lambda: until - time.monotonic()).connect_tcp(
            "127.0.0.1", listener.getsockname()[1], 1.0, None, narrow
        )
        try:
            with pytest.raises(httpcore.WriteTimeout):
                stream.write(b"x" * 600_000, 1.0)
        finally:
            stop.set()
            stream.close()
            reader.join(10)


# ------------------------------------------------------------------------------------------------------------- proxies


@pytest.fixture(name="proxy")
def _proxy(serve, answer):
    """A proxy that wants a password, and answers for whoever it is asked for."""
    right = b"Basic " + base64.b64encode(b"user:p@ss")

    def how(connection: socket.socket, request: bytes) -> None:
        headers = dict(line.split(b": ", 1) for line in request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:])
        admitted = {name.lower(): value for name, value in headers.items()}.get(b"proxy-authorization") == right
        connection.sendall(answer("200 OK" if admitted else "407 Proxy Authentication Required"))

    return serve(how)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("form", ["http://user:p%40ss@{}", "user:p%40ss@{}", "HTTP://user:p%40ss@{}"])
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_proxy_is_used_in_every_form_that_httpx_takes(proxy, monkeypatch, form, variable, way):
    """With a password, without a scheme, with a shouted one: the event goes by the proxy, signed for it."""
    monkeypatch.setenv(variable, form.format(proxy.url.removeprefix("http://")))
    client = direct(SHOP)
    assert send(client, way)
    assert client.stats().delivered == 1
    assert [request.split()[1] for request in proxy.requests] == [b"http://shop.example/api/v2/batch"]
    client.close()


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_tunnel_is_asked_for_with_the_password(serve, monkeypatch, way):
    """For https the proxy is asked for a tunnel, with its own password and not with the key."""
    proxy = serve(lambda connection, _: connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"))
    monkeypatch.setenv("https_proxy", proxy.url.replace("http://", "http://user:p%40ss@"))
    client = direct("https://shop.example")
    send(client, way)
    assert client.stats().delivered == 0
    (request,) = proxy.requests
    assert request.startswith(b"CONNECT shop.example:443 ")
    assert base64.b64encode(b"user:p@ss") in request
    assert not any(secret.encode() in request for secret in SECRETS)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("exempt", ["shop.example", ".example", "other.org, shop.example", "other.org, *"])
def test_no_proxy_is_honoured(serve, answer, proxy, resolve, monkeypatch, exempt, way):
    """A host that is exempt is reached directly."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", exempt)
    resolve["shop.example"] = ["127.0.0.1"]
    client = direct(server.url.replace("127.0.0.1", "shop.example"))
    assert send(client, way)
    assert (len(server.requests), proxy.requests) == (1, [])
    client.close()


@pytest.mark.parametrize("way", ["sync", "async"])
def test_this_machine_is_never_behind_a_proxy(sandbox, proxy, monkeypatch, way):
    """A sandbox on this machine is reached directly, whatever the environment says."""
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    client = direct(sandbox.url, site_id=sandbox.site_id)
    assert send(client, way)
    assert proxy.requests == []
    client.close()


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("socks5://user:pass@127.0.0.1:{}", "ProxyNeedsSocksio"),
        ("gopher://user:pass@127.0.0.1:{}", "ProxyNotUnderstood"),
        ("http://user:pass@127.0.0.1:none", "ProxyNotUnderstood"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_never_bypassed(serve, answer, resolve, monkeypatch, caplog, named, why, way):
    """The event is not delivered around it; the log says why, without the password."""
    server = serve(lambda connection, _: connection.sendall(answer("200 OK")))
    resolve["shop.example"] = ["127.0.0.1"]
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("all_proxy", named.format(server.url.rpartition(":")[2]))
    client = direct(server.url.replace("127.0.0.1", "shop.example"))
    assert send(client, way) is None
    assert server.requests == []
    assert why in caplog.text
    assert "user:pass" not in caplog.text
