"""Which call a method and a path mean."""

from __future__ import annotations

import pytest

from cio_middleware.sandbox.endpoints import ENDPOINTS, Nowhere, Route, find


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_endpoint_is_found_by_its_own_path(endpoint):
    """No endpoint hides another."""
    path = endpoint.path.replace("{", "a-").replace("}", "-z")
    found = find(endpoint.method, path.encode())
    assert isinstance(found, Route)
    assert found.endpoint is endpoint


@pytest.mark.parametrize(
    "identifier", ["a/b", "ada@example.com", "a+b", "100%", "a b", "日本", "a%2Fb", "..", "events"]
)
def test_an_identifier_survives_its_encoding(identifier):
    """A path is split before it is decoded, so an encoded slash is part of the identifier."""
    encoded = "".join(f"%{byte:02X}" for byte in identifier.encode())
    found = find("POST", f"/api/v1/customers/{encoded}/events".encode())
    assert isinstance(found, Route)
    assert (found.endpoint.name, found.values) == ("track.v1.event", {"identifier": identifier})


def test_a_plus_in_a_path_is_a_plus():
    """Only a query turns it into a space."""
    found = find("PUT", b"/api/v1/customers/a+b")
    assert isinstance(found, Route)
    assert found.values == {"identifier": "a+b"}


@pytest.mark.parametrize(
    ("method", "path", "hint", "allowed"),
    [
        (
            "POST",
            "/api/v1/customers/ada",
            "Did you mean PUT (identify) or DELETE (delete) or POST …/events (track)?",
            ("PUT", "DELETE"),
        ),
        ("GET", "/api/v2/batch", "Did you mean POST (a v2 batch)?", ("POST",)),
        ("POST", "/api/v2/btach", "Did you mean POST /api/v2/batch?", ()),
        ("POST", "/api/v1/customers//events", "Did you mean POST /api/v1/customers/{identifier}/events?", ()),
        ("GET", "/nothing/of/the/kind/at/all/here", "", ()),
    ],
)
def test_a_call_that_does_not_exist_says_what_may_be_meant(method, path, hint, allowed):
    """A wrong method names the right ones, a wrong path the nearest one."""
    found = find(method, path.encode())
    assert isinstance(found, Nowhere)
    assert (found.hint, found.allowed) == (hint, allowed)
    assert found.endpoint.name == "unknown"
