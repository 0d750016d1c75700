"""Whom an identify means: Customer.io's published rules, one row each."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.fidelity import Fidelity
from cio_middleware.sandbox.identity import Refused, Resolved, resolve
from cio_middleware.sandbox.people import People

ID, EMAIL, CIO = "id", "email", "cio_id"


@pytest.fixture(name="people")
def _people() -> People:
    """Ada with an id and an email, bob with an id, carol with an email, and a stranger known from events alone."""
    people = People(100, 100)
    for kind, value in ((ID, "ada"), (ID, "bob"), (EMAIL, "carol@x.y")):
        people.meet(kind, value).identified = True
    ada = people.find(ID, "ada")
    assert ada is not None
    people.claim(ada, EMAIL, "ada@x.y")
    people.meet(ID, "stranger")
    return people


RULES = {
    "a: nobody matches, so a new person": ((ID, "new"), {}, None, {ID: "new"}),
    "a: with an email that is free": ((ID, "new"), {EMAIL: "new@x.y"}, None, {ID: "new", EMAIL: "new@x.y"}),
    "b: the path matches": ((ID, "ada"), {"plan": "pro"}, "ada", {ID: "ada"}),
    "b: an email matches in any case": ((EMAIL, "ADA@x.y"), {}, "ada", {EMAIL: "ADA@x.y"}),
    "b: and gains an email": ((ID, "bob"), {EMAIL: "bob@x.y"}, "bob", {ID: "bob", EMAIL: "bob@x.y"}),
    "c: only the body matches, by email": (
        (ID, "carol"),
        {EMAIL: "carol@x.y"},
        "carol@x.y",
        {ID: "carol", EMAIL: "carol@x.y"},
    ),
    "c: only the body matches, by id": ((EMAIL, "b@x.y"), {ID: "bob"}, "bob", {EMAIL: "b@x.y", ID: "bob"}),
    "c: an id in the path wins over one in the body": ((ID, "bobby"), {ID: "bob"}, "bob", {ID: "bobby"}),
    "f: a new id with an email in use": ((ID, "ada-2"), {EMAIL: "ada@x.y"}, "ada", {ID: "ada-2", EMAIL: "ada@x.y"}),
    "a stranger becomes a person": ((ID, "stranger"), {}, "stranger", {ID: "stranger"}),
    "a stranger's id goes to whom the body names": (
        (ID, "stranger"),
        {EMAIL: "carol@x.y"},
        "carol@x.y",
        {ID: "stranger", EMAIL: "carol@x.y"},
    ),
    "an id may change the email": ((ID, "ada"), {EMAIL: "ada@new"}, "ada", {ID: "ada", EMAIL: "ada@new"}),
    "a cio_id may change everything": (
        (CIO, "03000001"),
        {ID: "countess", EMAIL: "c@x.y"},
        "ada",
        {ID: "countess", EMAIL: "c@x.y"},
    ),
}


@pytest.mark.parametrize(("address", "attributes", "whom", "claims"), RULES.values(), ids=RULES)
def test_an_identify_finds_its_person(people, address, attributes, whom, claims):
    """Each published rule leads to the right profile, and to the identifiers that lead to it from now on."""
    resolved = resolve(people, address, attributes, Fidelity())

    assert isinstance(resolved, Resolved)
    assert (resolved.person.key if resolved.person else None) == whom
    assert dict(resolved.claims) == claims


REFUSED = {
    "d: path and body are two people": ((ID, "ada"), {EMAIL: "carol@x.y"}, Fidelity(), "I-failed-attribute-change"),
    "d: the body's id and email are two people": (
        (ID, "new"),
        {ID: "bob", EMAIL: "ada@x.y"},
        Fidelity(),
        "I-failed-attribute-change",
    ),
    "e: nobody has this cio_id": ((CIO, "0300ffff"), {}, Fidelity(), "I-unknown-cio-id"),
    "only a cio_id changes an id": ((ID, "ada"), {ID: "countess"}, Fidelity(), "I-failed-attribute-change"),
    "an email does not change itself": (
        (EMAIL, "ada@x.y"),
        {EMAIL: "new@x.y"},
        Fidelity(),
        "I-failed-attribute-change",
    ),
    "the workspace forbids it": (
        (ID, "ada"),
        {EMAIL: "new@x.y"},
        Fidelity(email_update_by_id=False),
        "I-failed-attribute-change",
    ),
    "_update never creates": ((ID, "new"), {"_update": True}, Fidelity(), "I-update-only"),
    "_update does not take a stranger for a person": ((ID, "stranger"), {"_update": True}, Fidelity(), "I-update-only"),
}


@pytest.mark.parametrize(("address", "attributes", "fidelity", "code"), REFUSED.values(), ids=REFUSED)
def test_an_identify_that_customer_io_drops_says_why(people, address, attributes, fidelity, code):
    """What is answered with 200 and not applied has a code of its own."""
    refused = resolve(people, address, attributes, fidelity)
    assert isinstance(refused, Refused)
    assert refused.code == code
