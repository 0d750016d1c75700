"""
An httpx transport whose every read and write is bounded by what is left of one deadline.

httpx bounds each read by itself, so an answer that comes a byte at a time never times out. httpcore, which httpx is
built on, lets a caller supply the network; this one asks `time_left` before each operation.
"""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpcore
import httpx

from .._settings import is_loopback

TimeLeft = Callable[[], float | None]


class DeadlineTransport(httpx.BaseTransport):
    """Honours the environment's proxies, as httpx does by itself; makes a TLS context only when https is used."""

    def __init__(self, time_left: TimeLeft) -> None:
        self._time_left = time_left
        self._pools: dict[tuple[str, str], httpcore.ConnectionPool] = {}

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
        response = self._pool(url.scheme, url.host).handle_request(core)
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, scheme: str, host: str) -> httpcore.ConnectionPool:
        proxy = _proxy(scheme, host)
        if (pool := self._pools.get((scheme, proxy))) is None:
            tls = httpx.create_ssl_context() if scheme == "https" else None
            network = _Network(self._time_left)
            pool = _make_pool(proxy, tls, network)
            self._pools[scheme, proxy] = pool
        return pool


def _make_pool(proxy: str, tls: ssl.SSLContext | None, network: httpcore.NetworkBackend) -> httpcore.ConnectionPool:
    if proxy:
        return httpcore.HTTPProxy(proxy, ssl_context=tls, network_backend=network)
    return httpcore.ConnectionPool(ssl_context=tls, network_backend=network, max_connections=100, keepalive_expiry=60.0)


def _proxy(scheme: str, host: str) -> str:
    if is_loopback(host):
        return ""  # a proxy of the environment must not come between us and a sandbox on this machine
    found = urllib.request.getproxies()
    proxy = found.get(scheme) or found.get("all", "")
    if not proxy.startswith(("http://", "https://")) or urllib.request.proxy_bypass(host):
        return ""
    return proxy


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
        bounded = _bound(self._time_left, timeout)
        stream = self._inner.connect_tcp(host, port, bounded, local_address, socket_options)
        return _Stream(stream, self._time_left)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_unix_socket(path, timeout, socket_options), self._time_left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, time_left: TimeLeft) -> None:
        self._inner = inner
        self._time_left = time_left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _bound(self._time_left, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _bound(self._time_left, timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._inner.start_tls(ssl_context, server_hostname, _bound(self._time_left, timeout))
        return _Stream(stream, self._time_left)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _bound(time_left: TimeLeft, timeout: float | None) -> float | None:
    left = time_left()
    if left is None:
        return timeout
    # A socket takes 0 for "do not wait at all" and raises another error than a timeout.
    left = max(left, 0.001)
    return left if timeout is None else min(left, timeout)
