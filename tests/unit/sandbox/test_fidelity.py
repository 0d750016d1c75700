"""Every guess about the real Customer.io is one cited entry of a file, and every entry is a choice to take."""

from __future__ import annotations

from dataclasses import fields

import pytest

from cio_middleware.sandbox.fidelity import DOUBTS, Fidelity


def test_every_choice_is_an_entry_of_the_file_and_every_entry_a_choice():
    """A knob without a sentence, or a sentence without a knob, fails; so does another order."""
    assert [field.name for field in fields(Fidelity)] == ["limits", *DOUBTS]


@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS)
def test_an_entry_says_what_is_decided_why_and_where_it_was_looked_for(doubt):
    """A sentence, a source, how sure, and at least one other side; the default is what holds."""
    assert doubt.sentence.endswith(".")
    assert doubt.source
    assert doubt.sure in {"documented", "seen", "guess"}
    assert doubt.alternatives
    assert doubt.value not in doubt.alternatives
    assert getattr(Fidelity(), doubt.key) == doubt.value


@pytest.mark.parametrize("doubt", DOUBTS.values(), ids=DOUBTS)
def test_another_side_has_the_type_of_the_default(doubt):
    """What is listed as an alternative can stand where the default stands; <text> stands for any."""
    named = [side for side in doubt.alternatives if not str(side).startswith("<")]
    assert all(type(side) is type(doubt.value) for side in named)


def test_the_list_shows_what_holds_here_beside_the_default():
    """Who took another side sees it."""
    shown = {entry["key"]: entry for entry in Fidelity(kilobyte=1024).differences()}
    assert (shown["kilobyte"]["value"], shown["kilobyte"]["default"]) == (1024, 1000)
    assert list(shown) == list(DOUBTS)
