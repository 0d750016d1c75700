"""Event ids: unique whatever threads, forks and clocks do, and rising for each thread."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware._fork import ForkWatch
from cio_middleware._ids import Ulids, dice, is_ulid

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def milliseconds(ulid):
    """Decode the time of a ULID."""
    value = 0
    for letter in ulid[:10]:
        value = value * 32 + ALPHABET.index(letter)
    return value


def test_a_ulid_is_26_characters_and_tells_the_time():
    """Ten characters of milliseconds and sixteen of chance, of Crockford's alphabet."""
    ulid = Ulids(lambda: 1_800_000_000.123)()
    assert is_ulid(ulid)
    assert milliseconds(ulid) == 1_800_000_000_123
    assert Ulids(lambda: 0.0)().startswith("0" * 10)
    assert Ulids(lambda: (2**48 - 1) / 1000)().startswith("7ZZZZZZZZZ")


@pytest.fixture(name="_busy")
def _switch_often() -> Iterator[None]:
    """Let threads interrupt each other as often as the interpreter can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("_busy")
def test_eight_threads_mint_unique_ids_that_rise_for_each():
    """A run that two threads start at once is started once, so that no thread sees its ids fall."""
    ticks = itertools.count()
    # Each id is a quarter of a window later, so that new runs are started all the time.
    mint = Ulids(lambda: 1_800_000_000 + next(ticks) * 0.256)
    minted: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def work(ids: list[str]) -> None:
        start.wait()
        ids.extend(mint() for _ in range(3_000))

    threads = [threading.Thread(target=work, args=(ids,)) for ids in minted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(ids == sorted(ids) for ids in minted)
    assert len({ulid for ids in minted for ulid in ids}) == 24_000


def test_threads_that_start_a_run_together_share_one():
    """The loser of the race takes the winner's run; what it drew itself is thrown away."""
    draws: list[int] = []
    other: list[str] = []

    def entropy(size: int) -> bytes:
        draws.append(size)
        if len(draws) == 1:  # while the first is drawing, another thread starts the run
            other.append(mint())
        return bytes([len(draws)]) * size

    mint = Ulids(lambda: 1_800_000_000.0, entropy)
    mine = mint()

    assert len(draws) == 2
    assert mine[:22] == other[0][:22]
    assert mine > other[0]


@given(st.lists(st.floats(0, 4_000_000_000), min_size=2, max_size=40))
def test_ids_rise_whatever_the_clock_does(times):
    """NTP, a suspended machine or an operator may set the clock to anything."""
    clock = iter(times)
    mint = Ulids(lambda: next(clock))
    ids = [mint() for _ in times]
    assert ids == sorted(set(ids))


def test_a_clock_that_stands_before_1970_is_no_harm():
    """A machine without a battery wakes up anywhere."""
    assert is_ulid(Ulids(lambda: -5.0)())


def test_a_run_that_is_used_up_is_followed_by_another():
    """Half a million ids and more within one millisecond are still unique and rising."""
    mint = Ulids(lambda: 1_800_000_000.0, lambda size: b"\xff" * size)
    first = [mint() for _ in range(3)]
    run = mint._run
    for _ in range((1 << 20) - (1 << 19) - 4):  # what is left of it
        next(run.counter)

    after = [mint() for _ in range(4)]

    assert mint._run is not run
    assert first + after == sorted({*first, *after})
    assert milliseconds(after[-1]) - milliseconds(first[0]) <= 1024


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on, while other threads run
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_forked_child_never_repeats_its_parents_ids(told):
    """After a real fork, with the clock standing still, no id is minted twice; without being told, all would be."""
    mint, watch = Ulids(lambda: 1_800_000_000.0), ForkWatch()
    mint()
    if told:
        watch.add(mint)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - what is measured is the parent
        try:
            os.write(write, "\n".join(mint() for _ in range(1000)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = pipe.read().split("\n")
    os.waitpid(child, 0)

    ours = [mint() for _ in range(1000)]

    assert len({*ours, *theirs}) == (2000 if told else 1000)


SHAPES = {
    "upper": ("01KB0000000000000000000000", True),
    "lower": ("01kb0000000000000000000000", True),
    "highest": ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ", True),
    "overflow": ("8ZZZZZZZZZZZZZZZZZZZZZZZZZ", False),
    "short": ("01KB000000000000000000000", False),
    "long": ("01KB00000000000000000000000", False),
    "empty": ("", False),
    "letter-i": ("01KBI000000000000000000000", False),
    "letter-l": ("01KBL000000000000000000000", False),
    "letter-o": ("01KBO000000000000000000000", False),
    "letter-u": ("01KBU000000000000000000000", False),
    "newline": ("01KB000000000000000000000\n", False),
    "uuid": ("12345678-1234-5678-1234-56", False),
    "quote": ('01KB00000000000000000000"}', False),
    "long-s-whose-capital-is-s": ("0" + "\u017f" * 25, False),
    "sharp-s-whose-capital-is-ss": ("0" + "ß" * 25, False),
    "full-width-digits": ("\uff10" * 26, False),
}


@pytest.mark.parametrize(("text", "takes"), SHAPES.values(), ids=SHAPES)
def test_what_customer_io_takes_for_a_ulid(text, takes):
    """Twenty-six characters of Crockford's base 32, of which the first is at most 7."""
    assert is_ulid(text) is takes


def test_dice_are_between_0_and_1():
    """Jitter multiplies by it."""
    assert all(0 <= dice() < 1 for _ in range(100))


def test_dice_leave_the_random_numbers_of_the_application_alone():
    """An application that seeds `random` gets the numbers that it would get without us."""
    random.seed(1)
    expected = [random.random() for _ in range(3)]
    random.seed(1)
    drawn = [(random.random(), dice())[0] for _ in range(3)]

    assert drawn == expected
