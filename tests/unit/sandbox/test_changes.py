"""The change log: a cursor and what came after it are the whole story, or it says that they are not."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.changes import BadCursor, Changes, read


def test_what_came_after_a_cursor_is_told_in_order():
    """Each change once, oldest first."""
    changes = Changes(epoch=7, keep=10)
    changes.note("event", 1)
    epoch, number = read(changes.cursor)
    changes.note("event", 2)
    changes.note("person", "ada")

    assert epoch == 7
    assert [(change.kind, change.key) for change in changes.since(number) or ()] == [("event", 2), ("person", "ada")]
    assert changes.since(changes.latest) == []


@pytest.mark.parametrize(("number", "known"), [(0, False), (1, False), (2, True), (5, True), (6, False)])
def test_a_log_that_does_not_reach_back_says_so(number, known):
    """With room for three of five changes: from the second on; and nobody has seen the sixth."""
    changes = Changes(epoch=1, keep=3)
    for seq in range(5):
        changes.note("event", seq)
    assert (changes.since(number) is not None) == known


def test_a_new_epoch_begins_with_a_reset():
    """Numbers go on, so that no old cursor points into it by accident."""
    changes = Changes(epoch=1, keep=3)
    changes.note("event", 1)
    changes.begin_epoch()
    assert (changes.cursor, changes.since(0)) == ("2-2", None)
    assert [change.kind for change in changes.since(1) or ()] == ["reset"]


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "a-b", "1-2-3", "1" * 19 + "-1", "٣-1 "])
def test_what_is_no_cursor_is_refused(text):
    """With what one looks like."""
    with pytest.raises(BadCursor, match="stream_cursor"):
        read(text)
