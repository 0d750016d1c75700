"""Whose events are not sent any more, as the processes of a spool tell one another."""

from __future__ import annotations

from tests.unit.queues.spool.fake_files import FakeFiles
from tests.unit.queues.spool.spooling import PATH, Spool


def test_the_list_is_read_again_only_when_it_has_changed():
    """However often a process looks, and however long the list is; what somebody adds is heard of at the next look."""
    files = FakeFiles()
    spool, another = Spool(files), Spool(files.another())
    for number in range(10):
        another.queue.purge(f'{{"id":"{number}"}}'.encode())
    spool.put("a")
    spool.queue.tend(closing=False)
    read = files.calls["pread"]
    for _ in range(20):
        spool.clock.advance(2.0)
        spool.queue.tend(closing=False)
    assert files.calls["pread"] == read
    another.queue.purge(b'{"id":"ada"}')
    spool.clock.advance(2.0)
    spool.queue.tend(closing=False)
    assert files.calls["pread"] > read


def test_a_list_that_somebody_put_in_its_place_is_read():
    """A folder that was emptied and used again: the new list counts, and what was heard of before still does."""
    files = FakeFiles()
    spool, another = Spool(files), Spool(files.another())
    another.queue.purge(b'{"id":"ada"}')
    spool.put("a")
    spool.queue.tend(closing=False)
    read = files.calls["pread"]
    files.unlink("purged.seg", at=files.open(PATH, 0))
    another.queue.purge(b'{"id":"bob"}')
    spool.clock.advance(2.0)
    spool.queue.tend(closing=False)
    assert files.calls["pread"] > read
