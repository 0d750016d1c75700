"""
Serve a sandbox: uvicorn in a thread with a loop of its own, on this machine only unless a token is asked for.

Stopping is a power cut: every connection is reset, and nothing waits for a request in progress. The state
stays, so that a start after it, on the same port, is the end of an outage.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Self

import uvicorn

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox.app import build_app
from cio_middleware.sandbox.guards import HEAD_BYTES
from cio_middleware.sandbox.store import House, Workspaces
from cio_middleware.sandbox.wire import CuttableProtocol, reset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from starlette.types import ASGIApp

START_SECONDS = 10.0
MOST_AT_ONCE = 2000
"""Connections and requests at once; one more is answered 503."""


class SandboxServer:
    """
    A sandbox that listens.

    Args:
        host: A loopback address or ``localhost``; any other address when `house` asks for a token.
        port: 0 takes a free one, and keeps it over `stop` and `start`.
        house: The rules of doubt, the capacity, the clock.
        environ: Where ``CUSTOMERIO_ENV`` is looked up.

    Raises:
        ConfigurationError: in production, or without a token for a host that others can reach.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        house: House | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        refuse_production(os.environ if environ is None else environ)
        self.workspaces = Workspaces(house)
        if self.workspaces.house.access.token is None:
            refuse_others(host)
        self._host = host
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """The base URL; it has a port from the first start on."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def running(self) -> bool:
        """True between `start` and `stop`."""
        return self._thread is not None

    def start(self) -> None:
        """
        Listen, and return when requests are taken; do nothing when it runs.

        Raises:
            OSError: when the port is taken.
        """
        if self._thread is not None:
            return
        listener = _bind(self._host, self._port)
        self._port = listener.getsockname()[1]
        self._server = server = _Server(_config(build_app(self.workspaces), self.workspaces.house.patience))
        self._thread = threading.Thread(target=self._run, args=(server, listener), name="cio-sandbox", daemon=True)
        self._thread.start()
        if not server.ready.wait(START_SECONDS):
            raise RuntimeError(f"the sandbox did not start within {START_SECONDS:.0f} s")

    def stop(self) -> None:
        """Reset every connection and free the port; the state stays. Do nothing when it does not run."""
        if self._thread is None or self._server is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._server.pull_the_plug)
        self._thread.join()
        self._thread = self._server = self._loop = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, server: _Server, listener: socket.socket) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve(sockets=[listener])

        asyncio.run(serve())


class _Server(uvicorn.Server):
    """A server that says when it is ready, and that stops without waiting for anybody."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    def pull_the_plug(self) -> None:
        self.should_exit = self.force_exit = True
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, CuttableProtocol):
                reset(connection.transport)


def _config(app: ASGIApp, patience: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=partial(CuttableProtocol, patience=patience),  # type: ignore[arg-type]  # it is called, and no more
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,  # whoever starts a sandbox inside a program keeps that program's logging
        access_log=False,
        server_header=False,
        headers=[("x-cio-sandbox", "1")],  # by which a client of ours on this machine knows that nobody else listens
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=HEAD_BYTES + 1024,  # above it a head that is not whole is refused; see `Guards`
        limit_concurrency=MOST_AT_ONCE,
    )


def refuse_production(environ: Mapping[str, str]) -> None:
    """
    Keep a sandbox out of production.

    Raises:
        ConfigurationError: when ``CUSTOMERIO_ENV`` says production.
    """
    if environ.get("CUSTOMERIO_ENV", "").strip().lower() in {"production", "prod"}:
        raise ConfigurationError(
            "CUSTOMERIO_ENV is production, and a sandbox delivers nothing: events would stay here.\n"
            "  To run it all the same, unset CUSTOMERIO_ENV for this process."
        )


def refuse_others(host: str) -> None:
    """
    Keep a sandbox on this machine: it takes any credentials and shows every payload.

    Raises:
        ConfigurationError: for a host that is not loopback.
    """
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ConfigurationError(
            f"the sandbox listens on this machine only, and {host!r} would let others in.\n"
            "  Use host 127.0.0.1, ::1 or localhost, or ask every call for a token: --token auto"
        )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio turns Nagle off only for a socket that says it is TCP; a reply in two writes
    # would take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
