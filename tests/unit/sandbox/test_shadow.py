"""What is said of a history that changed is what a comparison of all of it would say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from cio_middleware.sandbox.shadow import Shadow


@dataclass(frozen=True, eq=False)
class Item:
    """One entry; another one of the same number is another entry."""

    seq: int
    replaces: tuple[int, ...] = ()


class Kept(dict):
    """A history by number."""

    def newest_first(self):
        """Iterate backwards."""
        return reversed(list(self.values()))

    def __iter__(self):
        return iter(list(self.values()))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("evict"), st.integers(1, 3)),
        st.tuples(st.just("update"), st.integers(0, 9)),
        st.tuples(st.just("replace"), st.integers(0, 9)),
        st.tuples(st.just("clear"), st.just(0)),
        st.tuples(st.just("undo"), st.just(0)),
    ),
    max_size=30,
)


@given(steps)
def test_a_shadow_and_a_comparison_of_everything_agree(steps):
    """Whatever comes, goes, changes, is cleared and comes back: a copy that is kept by what it says is the history."""
    kept, cleared, number = Kept(), Kept(), 0
    copy: dict[int, Item] = {}
    shadow: Shadow[int, Item] = Shadow(lambda item: item.seq)
    for what, count in steps:
        changed = []
        for _ in range(count if what == "add" else what == "replace"):
            number += 1
            older = [*kept.keys()][count : count + 1] if what == "replace" else []
            for seq in older:
                del kept[seq]
            kept[number] = Item(number, tuple(older))
        for seq in [*kept.keys()][:count] if what == "evict" else ():
            del kept[seq]
        for seq in [*kept.keys()][count : count + 1] if what == "update" else ():
            kept[seq] = replace(kept[seq])
            changed.append(kept[seq])
        if what == "clear":
            kept, cleared = Kept(), kept
        if what == "undo":
            kept, cleared = Kept(sorted({**cleared, **kept}.items())), Kept()
        came, gone = shadow.follow(kept, changed, lambda item: item.replaces)
        for seq in gone:
            del copy[seq]
        copy |= {item.seq: item for item in came}
        assert copy == dict(kept.items())


def test_nothing_is_said_of_what_did_not_change():
    """A look costs the length of what came, and says no more than that."""
    kept = Kept({number: Item(number) for number in range(1, 6)})
    shadow: Shadow[int, Item] = Shadow(lambda item: item.seq)
    assert [item.seq for item in shadow.follow(kept)[0]] == [1, 2, 3, 4, 5]
    assert shadow.follow(kept) == ([], [])
    kept[6] = Item(6)
    assert ([item.seq for item in shadow.follow(kept)[0]], shadow.follow(kept)) == ([6], ([], []))
