"""gevent replaces threads, locks and sockets under our feet: before we are imported, after, or when we are at work."""

from __future__ import annotations

import pytest

PATCHES = "from gevent import monkey; monkey.patch_all()"
IMPORTS = "import cio_middleware as cio; client = cio.get_client()"
WORKS = f"{IMPORTS}; assert client.track('before', {{'n': 0}}, person='ada') and client.flush(10)"
GREENLETS = """
import gevent

def request(n):
    assert client.track("step", {"n": n}, person="ada")
    gevent.sleep(0)
    assert client.track("again", {"n": n}, person="ada")

gevent.joinall([gevent.spawn(request, n) for n in range(200)], raise_error=True)
"""


@pytest.mark.parametrize(
    ("first", "then"), [(PATCHES, IMPORTS), (IMPORTS, PATCHES), (WORKS, PATCHES)], ids=["before", "after", "at-work"]
)
@pytest.mark.parametrize("end", ["assert client.flush(10)", ""], ids=["flush", "exit"])
@pytest.mark.parametrize("workers", ["1", "4"])
def test_46_greenlets_capture_and_all_arrives(first, then, end, workers, run, numbers):
    """Two hundred greenlets capture at once; each event arrives once, at a flush and at the interpreter's exit."""
    # gevent itself warns when it comes late, and complains of a thread from before it came.
    done = run(f"{first}\n{then}\n{GREENLETS}\n{end}", warnings="default", CUSTOMERIO_MAX_IN_FLIGHT=workers)
    assert done.returncode == 0, done.stderr
    assert "/cio_middleware/" not in done.stderr
    assert numbers("step") == numbers("again") == list(range(200))


@pytest.mark.parametrize(("first", "then"), [(PATCHES, IMPORTS), (IMPORTS, PATCHES)], ids=["before", "after"])
def test_46_a_child_that_gevent_forks_delivers_its_own(first, then, run, numbers):
    """Parent and child, each with a worker greenlet of its own, deliver what they captured."""
    script = f"""
{first}
{then}
import os
client.track("parent", {{"n": 0}}, person="ada")
child = os.fork()
client.track("parent" if child else "child", {{"n": 1}}, person="ada")
assert client.flush(10)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    done = run(script, warnings="default")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (numbers("parent"), numbers("child")) == ([0, 1], [1])


def test_46_greenlets_go_on_while_one_waits_for_a_flush(run, sandbox):
    """The worker waits for Customer.io as a greenlet does: it holds no other up."""
    sandbox.faults.script(["latency=300", "ok*"])
    done = run(f"""
        {PATCHES}
        {IMPORTS}
        import gevent
        client.track("step", {{"n": 0}}, person="ada")
        flush = gevent.spawn(client.flush, 10)
        turns = 0
        while not flush.dead:
            gevent.sleep(0.01)
            turns += 1
        assert flush.value is True
        assert turns > 10, turns
    """)
    assert (done.returncode, done.stderr) == (0, "")
