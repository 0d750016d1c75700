"""
An httpx transport whose every read and write is bounded by what is left of one deadline.

httpx bounds each read by itself, so an answer that comes a byte at a time never times out. httpcore, which httpx is
built on, lets a caller supply the network; this one asks `time_left` before each operation.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore
import httpx

from .._settings import is_loopback

TimeLeft = Callable[[], float | None]

SLICE = 16 * 1024
"""Bytes written under one bound; httpcore bounds each `send(2)` by itself, so a slow reader would stretch it."""


class ProxyNeedsSocksio(Exception):
    """The environment names a SOCKS proxy, for which httpx needs socksio: ``pip install httpx[socks]``."""


class ProxyNotUnderstood(Exception):
    """The environment names a proxy by a URL that httpx does not understand."""


class DeadlineTransport(httpx.BaseTransport):
    """Honours the environment's proxies, as httpx does by itself; makes a TLS context only when one is used."""

    def __init__(self, time_left: TimeLeft) -> None:
        self._time_left = time_left
        self._pools: dict[tuple[str, str], httpcore.ConnectionPool] = {}
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.RLock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request over a kept connection."""
        url = request.url
        core = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.read(),
            extensions=request.extensions,
        )
        response = self._pool(url.scheme, url.host, url.port).handle_request(core)
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()

    def _pool(self, scheme: str, host: str, port: int | None) -> httpcore.ConnectionPool:
        proxy = proxy_of(scheme, host, port)
        with self._lock:  # else threads that start together would make a pool each, and the last one's would stay
            if (pool := self._pools.get((scheme, proxy))) is None:
                made = self._make_pool(proxy, secure=scheme == "https")
                pool = self._pools.setdefault((scheme, proxy), made)  # a signal's handler may have made one meanwhile
            return pool

    def _make_pool(self, proxy: str, *, secure: bool) -> httpcore.ConnectionPool:
        network, tls = _Network(self._time_left), self._tls_context() if secure else None
        if not proxy:
            return httpcore.ConnectionPool(
                ssl_context=tls, network_backend=network, max_connections=100, keepalive_expiry=60.0
            )
        parsed = parse_proxy(proxy)
        url = parsed.url
        address = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        if url.scheme.startswith("socks"):
            return httpcore.SOCKSProxy(
                address,
                parsed.raw_auth,
                ssl_context=tls,
                network_backend=network,
                max_connections=100,
                keepalive_expiry=60.0,
            )
        return httpcore.HTTPProxy(
            address,
            parsed.raw_auth,
            ssl_context=tls,
            proxy_ssl_context=self._tls_context() if url.scheme == "https" else None,
            network_backend=network,
            max_connections=100,
            keepalive_expiry=60.0,
        )

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context()
        return self._tls


def make_tls(*, secure: bool) -> ssl.SSLContext:
    """
    For https httpx's own context, else one that costs nothing: httpx wants one all the same. Not to be run on a loop.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("anyio._backends._asyncio")  # httpcore would import it on the loop, in 0.03 s
    return httpx.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def make_async_client(tls: ssl.SSLContext, proxy: str, *, secure: bool) -> httpx.AsyncClient:
    """A client for one event loop. It asks the environment for nothing: the proxy was looked up, the context made."""
    parsed = parse_proxy(proxy) if proxy else None
    if parsed is not None and parsed.url.scheme == "https" and secure:
        parsed.ssl_context = tls
    transport = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=parsed)
    return httpx.AsyncClient(transport=transport, trust_env=False)


def proxy_of(scheme: str, host: str, port: int | None) -> str:
    """The URL of the environment's proxy for an origin; empty when it is reached directly."""
    if is_loopback(host):
        return ""  # a proxy of the environment must not come between us and a sandbox on this machine
    found = urllib.request.getproxies()
    proxy = found.get(scheme) or found.get("all", "")
    if not proxy or "*" in [entry.strip() for entry in found.get("no", "").split(",")]:
        return ""
    if urllib.request.proxy_bypass(host if port is None else f"{host}:{port}"):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def parse_proxy(proxy: str) -> httpx.Proxy:
    """
    Read a proxy's URL, with the user and password in it.

    Raises:
        ProxyNotUnderstood: it is no URL, or of a scheme that httpx does not know.
        ProxyNeedsSocksio: its scheme needs a package that is not installed.
    """
    try:
        parsed = httpx.Proxy(proxy)
    except (ValueError, httpx.InvalidURL):
        raise ProxyNotUnderstood from None  # the text of the error holds the password
    if parsed.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ProxyNeedsSocksio
    return parsed


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Network(httpcore.NetworkBackend):
    def __init__(self, time_left: TimeLeft) -> None:
        self._time_left = time_left
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Try a host's addresses, each with its share of what is left, so that one that is silent costs not all."""
        addresses = _resolve(host, port)
        for untried in range(len(addresses), 0, -1):
            left = _bound(self._time_left, None, httpcore.ConnectTimeout)
            share = timeout if left is None else min(left / untried, left if timeout is None else timeout)
            try:
                stream = self._inner.connect_tcp(addresses[-untried], port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if untried == 1:
                    raise
            else:
                return _Stream(stream, self._time_left)
        raise httpcore.ConnectError("the host has no address")


def _resolve(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return [str(address[0]) for *_, address in found]


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, time_left: TimeLeft) -> None:
        self._inner = inner
        self._time_left = time_left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _bound(self._time_left, timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), SLICE):
            bounded = _bound(self._time_left, timeout, httpcore.WriteTimeout)
            self._inner.write(buffer[start : start + SLICE], bounded)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        bounded = _bound(self._time_left, timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, bounded), self._time_left)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _bound(time_left: TimeLeft, timeout: float | None, late: type[httpcore.TimeoutException]) -> float | None:
    left = time_left()
    if left is None:
        return timeout
    if left <= 0:
        # Not one more operation: a server that always has something to read would never be late.
        raise late
    # A socket takes 0 for "do not wait at all" and raises another error than a timeout.
    left = max(left, 0.001)
    return left if timeout is None else min(left, timeout)
