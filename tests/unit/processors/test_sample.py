"""Whose events `sample` sends: the same people's everywhere, and as many as it says."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cio_middleware as cio
from cio_middleware import DropReason, Identity
from cio_middleware.exceptions import ConfigurationError
from cio_middleware.processors import sample

ULID = "01JDEXB8S3ZQ8S1T0F4V9K2M7C"


def event(person, name="order_placed", kind="event", anonymous_id=None):
    """An event of that person."""
    identity = None if person is None else Identity(id=person)
    return cio.Event(kind, ULID, name, 1_800_000_000, b"{}", identity, anonymous_id)


def chosen(processor, name="order_placed", people=10_000):
    """Which of so many people are in the share."""
    return {n for n in range(people) if isinstance(processor(event(f"user-{n}", name)), cio.Event)}


def test_the_share_is_as_large_as_it_says():
    """Of ten thousand people, a tenth and no more than chance makes of it."""
    assert 900 < len(chosen(sample(0.1))) < 1100


def test_the_same_people_are_in_the_share_of_every_event():
    """A funnel stays whole, and a larger share holds the smaller one."""
    processor = sample({"first": 0.1, "second": 0.1, "third": 0.3})
    assert chosen(processor, "first", 2000) == chosen(processor, "second", 2000) < chosen(processor, "third", 2000)


def test_another_salt_chooses_others():
    """About a tenth of a tenth is in both."""
    assert len(chosen(sample(0.1)) & chosen(sample(0.1, salt="b"))) < 200


def test_the_share_is_the_same_in_every_process():
    """Python's own hashes change from process to process; this one does not."""
    code = (
        "from cio_middleware import Event, Identity\nfrom cio_middleware.processors import sample\n"
        f"made = [Event('event', '{ULID}', 'x', 1, b'{{}}', Identity(id=f'user-{{n}}')) for n in range(200)]\n"
        "print([n for n, each in enumerate(made) if isinstance(sample(0.2)(each), Event)])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(sorted(chosen(sample(0.2), "x", 200)))


@pytest.mark.parametrize(("rates", "name", "goes"), [
    (0, "x", False), (1, "x", True), ({"page_*": 0}, "page_seen", False), ({"page_*": 0}, "order", True),
    ({"order": 1, "*": 0}, "order", True), ({"order": 1, "*": 0}, "Order", False),
    ({"*": 0, "order": 1}, "order", False),
])  # fmt: skip
def test_the_first_name_that_fits_holds(rates, name, goes):
    """Names are looked at in their order, and what fits none goes."""
    made = sample(rates)(event("ada", name))
    assert isinstance(made, cio.Event) if goes else made is DropReason.SAMPLED


def test_a_browser_has_a_place_of_its_own():
    """Without a person, the anonymous id decides."""
    taken = [isinstance(sample(0.5)(event(None, anonymous_id=f"b{n}")), cio.Event) for n in range(400)]
    assert 150 < sum(taken) < 250


def test_what_is_known_about_a_person_always_goes():
    """A profile is no event, and a missing one would cost more than it saves."""
    made = event("ada", "", "identify")
    assert sample(0)(made) is made


@pytest.mark.parametrize("rates", [-0.1, 1.1, "0.5", True, {"x": 2}, {1: 0.5}, float("nan")], ids=str)
def test_a_rate_that_is_none_is_refused(rates):
    """The message says what to type."""
    with pytest.raises(ConfigurationError, match="a rate from 0 to 1"):
        sample(rates)


def test_a_salt_is_a_text():
    """Anything else is refused."""
    with pytest.raises(ConfigurationError, match="Type a text"):
        sample(0.5, salt=7)  # type: ignore[arg-type]
