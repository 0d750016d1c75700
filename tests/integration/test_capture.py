"""A capture takes one of two ways, by who looks at the event; what leaves is the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cio_middleware import Client, Settings
from cio_middleware._events import Entry, Envelope, Receipt
from cio_middleware.testing.clock import ManualClock

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
VALUES: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.text() | st.floats()
PEOPLE = (st.text(max_size=40) | st.characters(categories=["Cs"])).filter(str.strip)


class Kept:
    """A backend that keeps what it is given."""

    settles = False

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def emit(self, envelope: Envelope, item: bytes) -> Receipt:
        """Take it."""
        self.entries.append((envelope, item))
        return Receipt()

    def flush(self, timeout: float) -> bool:
        """Keep."""
        return timeout >= 0

    def close(self, timeout: float) -> None:
        """Keep."""


@given(
    verb=st.sampled_from(["track", "page", "screen"]),
    name=st.text(min_size=1, max_size=20).filter(str.strip),
    attributes=st.dictionaries(st.text(max_size=3), VALUES),
    person=PEOPLE,
    timestamp=st.none() | st.integers(1_000_000_000, 2_000_000_000),
)
def test_an_event_that_nobody_looks_at_is_the_same(verb, name, attributes, person, timestamp):
    """Without processors and spans no `Event` is made; what goes on is the same, byte for byte."""
    backends = Kept(), Kept()
    for backend, processors in zip(backends, [(), (lambda event: event,)], strict=True):
        settings = Settings(site_id="a", api_key="b", backend=backend)
        with Client(settings, processors=processors, clock=ManualClock()) as client:
            client.track("before", person="ada")  # after which it is known that nothing records
            getattr(client, verb)(name, attributes, person=person, timestamp=timestamp, event_id=ULID)
    quick, long = (kept.entries[1] for kept in backends)
    assert quick == long
