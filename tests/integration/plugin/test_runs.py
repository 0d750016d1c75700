"""Whole runs with the pytest plugin: four workers at once, a sandbox that runs already, one that is kept."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from cio_middleware.testing import Sandbox

pytest_plugins = ["pytester"]

MANY = """
import pytest

@pytest.mark.parametrize("n", range(24))
def test_alone(n, cio_sandbox, cio, worker_id):
    assert cio_sandbox.summary()["total"] == 0
    cio.identify("ada", {"n": n})
    for _ in range(n % 5 + 1):
        cio.track("tick", {"n": n}, person="ada")
    cio_sandbox.faults.script(["503"])
    cio_sandbox.flush()
    events = cio_sandbox.events("tick", verdict="accepted")
    assert [event.data["n"] for event in events] == [n] * (n % 5 + 1)
    assert cio_sandbox.people["ada"].attributes["n"] == n
    print("served by", worker_id, cio_sandbox.url)
"""
PASSED = "def test_it(cio_sandbox, cio): cio.track('kept', person='ada'); cio_sandbox.wait_for('kept')\n"
FAILED = PASSED.replace("\n", "; assert False\n")


@pytest.fixture(name="quiet", autouse=True)
def _quiet(pytester, monkeypatch):
    """No setting of this run's reaches those inside."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


@pytest.mark.parametrize("keep", [(), ("--cio-keep",)], ids=["a-sandbox-each", "one-for-all"])
def test_four_workers_do_not_see_each_other(keep, pytester):
    """Two dozen tests with the same names and people, on four workers, each see their own events alone."""
    pytester.makepyfile(MANY)

    result = pytester.runpytest_subprocess("-n4", "-rP", "-p", "no:cacheprovider", *keep, timeout=120)

    result.assert_outcomes(passed=24)
    served = set(re.findall(r"served by (gw\d) (\S+)", result.stdout.str()))
    assert {worker for worker, _ in served} == {"gw0", "gw1", "gw2", "gw3"}
    assert len({url for _, url in served}) == (1 if keep else 4)


def test_a_sandbox_that_runs_already_is_joined(pytester, sandbox_server):
    """Two runs on it at once, of the same tests, are apart; what passed leaves its workspace to others."""
    before = set(workspaces(sandbox_server))
    pytester.makepyfile(MANY)

    result = pytester.runpytest_subprocess(
        "-n2", "-p", "no:cacheprovider", f"--cio-sandbox-url={sandbox_server.url}", timeout=120
    )

    result.assert_outcomes(passed=24)
    left = set(workspaces(sandbox_server)) - before
    assert left
    for name in left:
        with sandbox_server.workspace(name) as workspace:
            assert workspace.summary()["total"] == 0


def test_a_sandbox_is_kept_after_a_failure(pytester):
    """It answers until somebody has looked, with the workspace of the test that failed as it was."""
    pytester.makepyfile(test_kept=FAILED)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "--cio-keep"]
    with subprocess.Popen(
        command, cwd=pytester.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "cio sandbox is still up" in line:
                break
        shown = "".join(lines)
        url, name = re.findall(r"Watch it: (\S+)/\?workspace=(\S+)", shown)[-1]
        with Sandbox(url, name) as sandbox:
            assert [event.name for event in sandbox.events()] == ["kept"]
        process.communicate("\n", timeout=20)

    assert process.returncode == 1


def test_nothing_is_kept_after_a_success(pytester):
    """A run that passes ends."""
    pytester.makepyfile(test_kept=PASSED)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--cio-keep", timeout=60)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*still up*")


def workspaces(server):
    """The names of the workspaces of a server."""
    return server._call("GET", "/info")["workspaces"]
