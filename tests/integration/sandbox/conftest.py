"""One sandbox for the whole run, and for each test a workspace of its own that no other test sees."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpx
import pytest

from cio_middleware.testing import Sandbox


@pytest.fixture(scope="session", name="shared_sandbox")
def _shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox.running() as sandbox:
        yield sandbox


@pytest.fixture(name="sandbox")
def _sandbox(shared_sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    site_id = request.node.nodeid.replace(":", ".")  # Basic credentials end their first half at a colon
    with shared_sandbox.workspace(site_id) as sandbox:
        yield sandbox


@pytest.fixture(name="own_sandbox")
def _own_sandbox() -> Iterator[Sandbox]:
    """A server for one test, which stops it or looks at all of its workspaces."""
    with Sandbox.running() as sandbox:
        yield sandbox


# Empty, because nothing here is https, and because loading certificates takes longer than most of these tests.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture(name="http")
def _http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """An app's connection to Customer.io, as plain as can be: no client of ours is in between."""
    credentials = (sandbox.site_id, "key")
    with httpx.Client(base_url=sandbox.url, auth=credentials, trust_env=False, timeout=5, verify=NO_TLS) as client:
        yield client


@pytest.fixture(scope="session", name="web")
def _web() -> Iterator[httpx.Client]:
    """Anyone on this machine, with no credentials and no connection kept open between calls."""
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(trust_env=False, timeout=5, verify=NO_TLS, limits=limits) as client:
        yield client
