"""
A local Customer.io for tests, as pytest fixtures.

    def test_checkout(browser, cio_sandbox):
        browser.post("/checkout", json={"total": 42})
        assert cio_sandbox.wait_for("order_completed", person="ada", data={"total": 42}).attempts == 1

pytest loads this into every run, so it imports nothing until a fixture is asked for, and starts nothing either.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cio_middleware import Client
    from cio_middleware.testing import AsyncSandbox, MemorySandbox, Sandbox
    from cio_middleware.testing.fixtures import Server, Watch

_WATCH: pytest.StashKey[Watch] = pytest.StashKey()
_KEPT: pytest.StashKey[Server] = pytest.StashKey()
_FAILED: pytest.StashKey[bool] = pytest.StashKey()
_MARK = (
    "cio(faults=[...], allow_problems=True): steps that the sandbox of this test answers with, "
    "and whether events may be lost unseen."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Describe the options."""
    group = parser.getgroup("cio", "local Customer.io (cio-middleware)")
    group.addoption("--cio-sandbox-url", metavar="URL", help="use a sandbox that runs already, and watch it there")
    group.addoption("--cio-keep", action="store_true", help="leave the sandbox up after failures, until Enter")
    group.addoption("--cio-strict", action="store_true", help="a warning of the sandbox fails the test, too")
    parser.addini("cio_timeout", "seconds that waits of cio_sandbox take by default (2.0)", default="2.0")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARK)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """With xdist and --cio-keep, the workers share one sandbox, since none of them lives long enough to keep one."""
    if node.config.getoption("cio_keep") and not node.config.getoption("cio_sandbox_url"):
        node.workerinput["cio_sandbox_url"] = _kept(node.config).sandbox.url


@pytest.fixture(scope="session")
def cio_sandbox_server(pytestconfig: pytest.Config) -> Iterator[Sandbox]:
    """One local Customer.io for the run, or for each xdist worker, on a free port."""
    from cio_middleware.testing.fixtures import joined, serving

    url = pytestconfig.getoption("cio_sandbox_url") or getattr(pytestconfig, "workerinput", {}).get("cio_sandbox_url")
    if url:
        with joined(url) as sandbox:
            yield sandbox
    elif pytestconfig.getoption("cio_keep"):
        yield _kept(pytestconfig).sandbox
    else:
        with serving() as server:
            yield server.sandbox


@pytest.fixture
def cio_sandbox(request: pytest.FixtureRequest, cio_sandbox_server: Sandbox) -> Iterator[Sandbox]:
    """A workspace of the test's own, to which the process's default client and `CUSTOMERIO_*` lead meanwhile."""
    yield from _watched(request, cio_sandbox_server)


@pytest.fixture
def acio_sandbox(cio_sandbox: Sandbox) -> AsyncSandbox:
    """The same for coroutines: what looks and waits is awaited."""
    from cio_middleware.testing import AsyncSandbox

    return AsyncSandbox(cio_sandbox)


@pytest.fixture(scope="session")
def _cio_memory_process() -> Iterator[MemorySandbox]:
    from cio_middleware.testing import MemorySandbox

    with MemorySandbox.in_memory() as sandbox:
        yield sandbox


@pytest.fixture
def cio_memory(request: pytest.FixtureRequest, _cio_memory_process: MemorySandbox) -> Iterator[Sandbox]:
    """A workspace without HTTP: what is tracked has arrived when `track` returns."""
    yield from _watched(request, _cio_memory_process)


@pytest.fixture
def cio(request: pytest.FixtureRequest) -> Client:
    """The client of the test's workspace, which is the process's default client meanwhile."""
    in_memory = "cio_memory" in request.fixturenames and "cio_sandbox" not in request.fixturenames
    request.getfixturevalue("cio_memory" if in_memory else "cio_sandbox")
    node: pytest.Item = request.node
    return node.stash[_WATCH].client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that passed although events of its own were lost, and it did not look at them."""
    result = yield
    if (watch := item.stash.get(_WATCH, None)) is not None and (text := watch.unlooked()):
        pytest.fail(text, pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the newest events of a test that failed."""
    report = yield
    if report.failed and (watch := item.stash.get(_WATCH, None)) is not None:
        watch.failed = True
        report.sections.append(("cio sandbox", watch.report()))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remember whether there is a reason to keep the sandbox."""
    session.config.stash[_FAILED] = bool(session.testsfailed)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave a sandbox up that is to be kept, for as long as somebody looks."""
    if (server := config.stash.get(_KEPT, None)) is None:
        return
    if config.stash.get(_FAILED, False):
        capture: Any = config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend_global_capture(in_=True)
        print(f"\ncio sandbox is still up: {server.sandbox.url}   Enter or Ctrl-C stops it.", flush=True)  # noqa: T201
        with suppress(KeyboardInterrupt, OSError):
            sys.stdin.readline()
    server.stop()


def _watched(request: pytest.FixtureRequest, server: Sandbox) -> Iterator[Any]:
    from cio_middleware.testing.fixtures import Marks, seconds, watching

    node, config = request.node, request.config
    marks = Marks.of((mark.args, mark.kwargs) for mark in node.iter_markers("cio"))
    with watching(
        server,
        name=node.name,
        marks=marks,
        timeout=seconds(config.getini("cio_timeout")),
        strict=bool(config.getoption("cio_strict")),
        keep=bool(config.getoption("cio_keep")),
    ) as watch:
        node.stash[_WATCH] = watch
        yield watch.sandbox
        # Once more: what other fixtures captured while they ended is lost as well.
        text = "" if watch.failed else watch.unlooked()
        if text:
            watch.report()
    if text:
        pytest.fail(text, pytrace=False)


def _kept(config: pytest.Config) -> Server:
    from cio_middleware.testing.fixtures import Server

    if (server := config.stash.get(_KEPT, None)) is None:
        server = config.stash[_KEPT] = Server()
    return server
