"""The page among hostile payloads and hostile pages (S1 to S7)."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Dialog, expect

from tests.e2e.shop import event, identify, ulid

PAGE = Path(__file__).parents[2] / "cio_middleware" / "sandbox" / "page"
HOSTILE = {
    "image": "<img src=x onerror=alert(1)>",
    "script": "</script><script>alert(1)</script>",
    "link": "javascript:alert(1)",
    "proto": "__proto__",
    "bidi": "abc\u202edef\u200b",
    "long": "w" * 90_000,
}


@pytest.fixture(name="elsewhere")
def _elsewhere() -> Iterator[str]:
    """A web page of another origin, on this machine."""

    class Blank(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title><body></body>")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_markup_is_ever_built_from_text():
    """No script of the page writes markup or runs text: every character of a payload goes through a text node."""
    for script in sorted((PAGE / "js").glob("*.js")):
        text = script.read_text(encoding="utf-8")
        for banned in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert banned not in text, f"{script.name}: {banned}"


def test_s1_hostile_text_stays_text(visit, app, said):
    """Markup, scripts, addresses, prototypes, marks of direction and 90 kB are shown as they are, and nothing runs."""
    dialogs: list[str] = []
    page = visit()

    def refuse(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    for text in (HOSTILE["image"], HOSTILE["script"], HOSTILE["link"], HOSTILE["proto"]):
        app.post("/api/v2/entity", json=identify(text, __proto__=text, bio=text)).raise_for_status()
        app.post("/api/v2/entity", json=event(text, person=text, value=text)).raise_for_status()
    app.post("/api/v1/customers/ada/events", json={"name": "long", "id": ulid(), "data": {"text": HOSTILE["long"]}})
    app.post("/api/v2/entity", json=event("bidi", text=HOSTILE["bidi"])).raise_for_status()
    rows = page.locator("tr.row")
    expect(rows).to_have_count(10)
    for row in rows.all():
        row.click()
        expect(page.locator("#detail-h")).to_have_text(row.locator("th").inner_text())
    rows.filter(has_text="bidi").first.click()
    payload = page.locator("#detail .payload")
    expect(payload).to_contain_text("abc⟨U+202E⟩def⟨U+200B⟩")
    rows.filter(has_text="long").first.click()
    expect(payload).to_contain_text("w" * 90_000)
    expect(page.get_by_role("rowheader", name=HOSTILE["image"])).to_have_count(1)
    for view in ("#/people", f"#/people/{HOSTILE['proto']}", "#/problems"):
        visit(view)
    expect(page.locator("#list")).not_to_be_empty()
    assert page.locator("#list img, #list script, #detail img").count() == 0
    assert dialogs == []
    assert said == []


def test_s2_a_page_of_another_origin_gets_nothing(page, elsewhere, sandbox):
    """Fetch, form, EventSource, image and script of another origin are refused or cannot be read, and store nothing."""
    page.goto(elsewhere)
    found = page.evaluate(
        """async (url) => {
          const outcome = {};
          const attempt = async (name, act) => {
            try { outcome[name] = await act(); } catch { outcome[name] = "blocked"; }
          };
          await attempt("read", async () => (await fetch(`${url}/_sandbox/v1/events`)).text());
          await attempt("no-cors", async () => (await fetch(`${url}/_sandbox/v1/events`, { mode: "no-cors" })).text());
          const post = { method: "POST", mode: "no-cors", body: JSON.stringify({ type: "person" }) };
          await attempt("post", async () => (await fetch(`${url}/api/v2/entity`, post)).type);
          const load = (node) => new Promise((resolve) => {
            node.onload = () => resolve("loaded"); node.onerror = () => resolve("blocked"); document.body.append(node);
          });
          await attempt("image", () => load(Object.assign(new Image(), { src: `${url}/_sandbox/page/lamp.svg` })));
          const script = Object.assign(document.createElement("script"), { src: `${url}/_sandbox/page/js/theme.js` });
          await attempt("script", () => load(script));
          await attempt("stream", () => new Promise((resolve) => {
            const source = new EventSource(`${url}/_sandbox/v1/stream`);
            source.onopen = () => resolve("open"); source.onerror = () => { source.close(); resolve("blocked"); };
          }));
          return outcome;
        }""",
        sandbox.url,
    )
    assert found["read"] == found["image"] == found["script"] == found["stream"] == "blocked"
    assert found["no-cors"] in ("", "blocked")
    page.evaluate(
        """(url) => {
          const form = document.createElement("form");
          Object.assign(form, { method: "post", action: `${url}/api/v2/entity` });
          document.body.append(form);
          form.submit();
        }""",
        sandbox.url,
    )
    page.wait_for_url(f"{sandbox.url}/**")
    expect(page.locator("body")).to_contain_text("CIO-SBX-003")
    everything = httpx.get(f"{sandbox.url}/_sandbox/v1/info", trust_env=False).json()["workspaces"]
    for name in {"dev", sandbox.site_id} & set(everything):
        with sandbox.workspace(name) as workspace:
            assert workspace.events() == []


def test_s3_only_our_own_names_are_hosts(sandbox):
    """A foreign Host is misdirected, which stops DNS rebinding; the names of this machine are served."""
    port = sandbox.url.rpartition(":")[2]
    with httpx.Client(trust_env=False, headers={"Accept": "text/html"}) as web:
        evil = web.get(sandbox.url, headers={"Host": "evil.example"})
        assert (evil.status_code, evil.json()["error"]["code"]) == (421, "CIO-SBX-001")
        for host in (f"[::1]:{port}", f"localhost:{port}", f"127.0.0.1:{port}"):
            assert web.get(sandbox.url, headers={"Host": host}).status_code == 200


def test_s4_it_cannot_be_framed(page, elsewhere, sandbox, said):
    """Neither another page nor one of the same machine shows the sandbox in a frame."""
    page.goto(elsewhere)
    page.evaluate(
        "(url) => document.body.append(Object.assign(document.createElement('iframe'), { src: url }))", sandbox.url
    )
    expect(page.frame_locator("iframe").locator(".top")).to_have_count(0)
    with httpx.Client(trust_env=False) as web:
        headers = web.get(sandbox.url, headers={"Accept": "text/html"}).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_s5_no_request_leaves_the_origin(visit, app, page, sandbox):
    """Everything that the page loads, it loads from this server."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    app.post("/api/v2/entity", json=event("order_paid")).raise_for_status()
    for view in ("#/events/1", "#/people/ada", "#/problems", "#/faults", "#/differences"):
        visit(view)
    assert len(asked) > 30
    assert [url for url in asked if not url.startswith((sandbox.url, "data:"))] == []


def test_s6_large_integers_are_exact(visit, app):
    """9007199254740993 is shown as it was sent, and so is a key that stands there twice."""
    item = json.dumps(event("order_paid")).replace("{}", '{"big": 9007199254740993, "twice": 1, "twice": 2}')
    app.post("/api/v2/entity", content=item, headers={"Content-Type": "application/json"}).raise_for_status()
    page = visit("#/events/1")
    expect(page.locator("#detail .payload")).to_contain_text('"big": 9007199254740993')
    expect(page.locator("#detail .payload")).to_contain_text('"twice": 1')
    page.get_by_role("button", name="Raw").click()
    expect(page.locator("#detail .payload")).to_contain_text("9007199254740993")


def test_s7_what_is_too_large_is_refused(sandbox, app):
    """A body above the cap is refused while it comes, and one that unfolds to more is refused as well."""
    huge = app.post("/api/v2/batch", content=(b"x" * 65_536 for _ in range(64)))
    assert huge.status_code == 413
    bomb = gzip.compress(b"0" * 64 * 1024 * 1024)
    refused = app.post("/api/v2/batch", content=bomb, headers={"Content-Encoding": "gzip"})
    assert refused.status_code in {400, 413, 415}
    assert not [seen for seen in sandbox.events() if seen.verdict == "accepted"]
