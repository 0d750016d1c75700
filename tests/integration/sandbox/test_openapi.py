"""The description of the control API is valid, complete, and true of what is answered."""

from __future__ import annotations

import re

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from cio_middleware.sandbox import control, openapi

UNENDING = {"GET /export.ndjson", "GET /stream"}
"""What answers in lines and not in one piece of JSON."""


@pytest.fixture(name="described")
def _described(web, sandbox):
    return web.get(f"{sandbox.url}/_sandbox/v1/openapi.json").json()


def test_the_description_is_valid(described):
    """By the OpenAPI project's own schema, and every reference in it leads somewhere."""
    assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(re.findall(r"'\$ref': '([^']+)'", repr(described))) <= known


def test_every_route_is_described_and_everything_described_is_a_route(described):
    """A call that is added to one table alone fails here."""
    routed = {f"{method} {re.sub(':[a-z]+}', '}', path)}" for method, path, _ in control._ROUTES}
    assert {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods} == routed


@pytest.mark.parametrize("call", [call for call in openapi.CALLS if call.startswith("GET ") and call not in UNENDING])
def test_a_look_answers_what_is_said_of_it(call, described, sandbox, http, web):
    """Each answer fits the schema of its call, with and without a row in it; so does the 400 of a filter."""
    http.put("/api/v1/customers/ada", json={"email": "ada@example.com"})
    http.post("/api/v1/customers/ada/events", json={"name": "x" * 101})
    http.post("/api/v1/customers/ada/events", json={"name": "order"})
    sandbox.faults.rule(do={"type": "status", "status": 503}, when={"mode": "after", "n": 100})
    path = openapi.ROOT + call.removeprefix("GET ")
    said = described["paths"][path]["get"]
    known = [parameter["name"] for parameter in said["parameters"]]
    asked = web.get(
        sandbox.url + path.replace("{seq}", "1").replace("{key}", "ada").replace("{id}", "r1"),
        params={"workspace": sandbox.site_id},
    )
    assert asked.status_code == 200
    _fits(described, said["responses"]["200"], asked)
    if "q" in known:
        refused = web.get(sandbox.url + path, params={"q": "no:key"})
        _fits(described, said["responses"]["400"], refused)


def test_a_change_answers_what_is_said_of_it(described, sandbox, web):
    """A wait, a rule, a script and a reset; and a wrong one is refused as described."""
    for method, path, body in [
        ("POST", "/faults", {"do": {"type": "status"}}),
        ("PUT", "/faults/script", {"steps": ["ok"]}),
        ("POST", "/wait", {"match": {"name": "x"}, "count": 0}),
        ("POST", "/reset", {}),
    ]:
        said = described["paths"][openapi.ROOT + path][method.lower()]["responses"]
        headers = {"X-Cio-Sandbox": "1", "X-Cio-Workspace": sandbox.site_id}
        done = web.request(method, sandbox.url + openapi.ROOT + path, json=body, headers=headers)
        assert done.status_code == 200
        _fits(described, said["200"], done)
        _fits(described, said["403"], web.request(method, sandbox.url + openapi.ROOT + path, json=body))


def _fits(described, said, reply):
    (content,) = said["content"].values()
    schema = {**content["schema"], "components": described["components"]}
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(reply.json())]
    assert errors == []
