"""What an answer means: every status, both forms of errors, and bodies from hell."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware.typing import Failure, Refusal, Response
from cio_middleware.wire.outcome import Outcome, Verdict, read, retry_after

US, EU = "https://track.customer.io", "https://track-eu.customer.io"
TAKEN, REFUSED, TOO_LARGE = Verdict.TAKEN, Verdict.REFUSED, Verdict.TOO_LARGE
DENIED, MOVED, BUSY = Verdict.DENIED, Verdict.MOVED, Verdict.BUSY


def judged(status: int, body: Any = b"{}\n", headers: dict[str, str] | None = None, count: int | None = 3) -> Outcome:
    """Judge an answer to a batch of three."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(Response(status, headers or {}, raw, received_at=1_800_000_000.0), US, count)


STATUSES = {
    **dict.fromkeys([200, 201, 202, 204, 226, 299], TAKEN),
    **dict.fromkeys([300, 301, 302, 303, 304, 307, 308, 399], DENIED),
    **dict.fromkeys([400, 402, 406, 409, 410, 411, 418, 422, 431, 451, 499], REFUSED),
    **dict.fromkeys([401, 403, 404, 405, 407], DENIED),
    413: TOO_LARGE,
    **dict.fromkeys([408, 425, 429, 500, 501, 502, 503, 504, 522, 524, 529, 599, 600, 999], BUSY),
    **dict.fromkeys([0, 100, 101, 103, 199], BUSY),
}


@pytest.mark.parametrize(("status", "verdict"), STATUSES.items(), ids=map(str, STATUSES))
def test_what_a_status_means(status, verdict):
    """Done, wrong, too large, not allowed, or later; a redirect to nowhere keeps everything."""
    outcome = judged(status)
    assert outcome.verdict is verdict
    assert outcome.status == status
    assert outcome.error == ("" if verdict is TAKEN else str(status))


def test_no_answer_means_later():
    """Whether Customer.io has the events is not known; the same bytes again do no harm."""
    outcome = read(Failure("httpx.ReadTimeout"), US, 3)
    assert (outcome.verdict, outcome.status, outcome.error) == (BUSY, None, "httpx.ReadTimeout")


ERROR = {"batch_index": 1, "reason": "invalid", "field": "attributes.x", "message": "too long"}
WHY = Refusal("invalid", "attributes.x", "too long")

SUCCESSES: dict[str, tuple[int, Any, Verdict, dict[int, Refusal], str]] = {
    "200": (200, b"{}\n", TAKEN, {}, ""),
    "200-empty": (200, b"", TAKEN, {}, ""),
    "200-blank": (200, b" \r\n", TAKEN, {}, ""),
    "204": (204, b"", TAKEN, {}, ""),
    "200-other-members": (200, {"success": True}, TAKEN, {}, ""),
    "200-errors": (200, {"errors": [ERROR]}, TAKEN, {1: WHY}, "rejected"),
    "200-no-errors": (200, {"errors": []}, TAKEN, {}, ""),
    "200-null-errors": (200, {"errors": None}, TAKEN, {}, ""),
    "200-html": (200, b"<html>Sign in to the hotel</html>", BUSY, {}, "not_json"),
    "200-list": (200, [], BUSY, {}, "not_json"),
    "200-text": (200, "ok", BUSY, {}, "not_json"),
    "200-null": (200, None, BUSY, {}, "not_json"),
    "200-truncated": (200, b'{"errors":[', BUSY, {}, "not_json"),
    "200-no-utf-8": (200, b'{"a":"\xff"}', BUSY, {}, "not_json"),
    "207": (207, {"errors": [ERROR]}, TAKEN, {1: WHY}, "rejected"),
    "207-several": (207, {"errors": [ERROR, {**ERROR, "batch_index": 0}]}, TAKEN, {0: WHY, 1: WHY}, "rejected"),
    "207-all": (207, {"errors": [{"batch_index": n} for n in range(3)]}, TAKEN,
                {0: Refusal("refused"), 1: Refusal("refused"), 2: Refusal("refused")}, "rejected"),
    "207-empty-errors": (207, {"errors": []}, TAKEN, {}, ""),
    "207-without-errors": (207, {}, TAKEN, {}, ""),
    "207-empty": (207, b"", BUSY, {}, "not_json"),
    "207-html": (207, b"<html>", BUSY, {}, "not_json"),
    "207-truncated": (207, b'{"errors":[{"batch_index":0},', BUSY, {}, "not_json"),
    "207-too-long": (207, b'{"errors":[' + b'{"batch_index":0},' * 4000, TOO_LARGE, {}, "answer_too_long"),
    "200-too-long": (200, b"<" * 70_000, BUSY, {}, "not_json"),
    "207-index-beyond": (207, {"errors": [{**ERROR, "batch_index": 3}, ERROR]}, TOO_LARGE, {}, "unclear"),
    "207-index-negative": (207, {"errors": [{**ERROR, "batch_index": -1}, ERROR]}, TOO_LARGE, {}, "unclear"),
    "207-index-bool": (207, {"errors": [{**ERROR, "batch_index": True}]}, TOO_LARGE, {}, "unclear"),
    "207-index-float": (207, {"errors": [{**ERROR, "batch_index": 1.0}]}, TAKEN, {1: WHY}, "rejected"),
    "207-index-text": (207, {"errors": [{**ERROR, "batch_index": "1"}]}, TAKEN, {1: WHY}, "rejected"),
    "207-index-huge-text": (207, {"errors": [{**ERROR, "batch_index": "9" * 5000}]}, TOO_LARGE, {}, "unclear"),
    "207-index-missing": (207, {"errors": [{"reason": "invalid"}]}, TOO_LARGE, {}, "unclear"),
    "207-index-twice": (207, {"errors": [ERROR, {**ERROR, "reason": "second"}]}, TAKEN, {1: WHY}, "rejected"),
    "207-not-objects": (207, {"errors": [None, 5, "x", [ERROR]]}, TOO_LARGE, {}, "unclear"),
    "207-errors-no-list": (207, {"errors": {"0": ERROR}}, TOO_LARGE, {}, "unclear"),
    "207-errors-text": (207, {"errors": "broken"}, TOO_LARGE, {}, "unclear"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "verdict", "refused", "error"), SUCCESSES.values(), ids=SUCCESSES)
def test_a_success_settles_each_item_by_itself(status, body, verdict, refused, error):
    """Listed items are refused for good, all others are done; what is not Customer.io's own answer is not believed."""
    outcome = judged(status, body)
    assert (outcome.verdict, outcome.refused, outcome.error) == (verdict, refused, error)


ALONE: dict[str, Any] = {
    "index": {**ERROR, "batch_index": 0},
    "index-wrong": ERROR,
    "index-missing": {key: ERROR[key] for key in ("reason", "field", "message")},
}


@pytest.mark.parametrize("error", ALONE.values(), ids=ALONE)
def test_an_error_about_the_only_item_is_about_that_item(error):
    """With one item in the batch there is nothing else that it could be about: it is not counted as delivered."""
    for status in (200, 207):
        outcome = judged(status, {"errors": [error]}, count=1)
        assert (outcome.verdict, outcome.refused) == (TAKEN, {0: WHY})


def test_a_cut_off_answer_about_one_item_is_not_split_further():
    """There is nothing to halve: it is asked again."""
    assert judged(207, b'{"errors":[' + b" " * 70_000, count=1).verdict is BUSY
    assert judged(207, b'{"errors":[' + b" " * 70_000, count=None).verdict is BUSY


def test_an_error_in_the_answer_to_a_v1_call_refuses_it():
    """A single call is no batch: any error is about it."""
    outcome = judged(200, {"errors": [{"reason": "invalid"}]}, count=None)
    assert (outcome.verdict, outcome.refused) == (REFUSED, {0: Refusal("invalid")})
    assert judged(200, count=None).verdict is TAKEN


WORDS: dict[str, tuple[Any, str]] = {
    "v1": ({"meta": {"error": "name cannot be blank"}}, "name cannot be blank"),
    "v1-several": ({"meta": {"errors": ["a", "b"]}}, "a; b"),
    "v1-both": ({"meta": {"error": "a", "errors": ["b"]}}, "b"),
    "v1-text": ({"meta": {"errors": "abc"}}, "abc"),
    "v1-number": ({"meta": {"errors": 5}}, "answered 400"),
    "v1-empty": ({"meta": {"errors": []}}, "answered 400"),
    "v1-null": ({"meta": {"error": None}}, "answered 400"),
    "v1-no-object": ({"meta": "x"}, "answered 400"),
    "v2": ({"errors": [{"reason": "invalid", "field": "name", "message": "blank"}]}, "invalid: name: blank"),
    "v2-part": ({"errors": [{"message": "blank"}]}, "blank"),
    "v2-text": ({"errors": ["blank"]}, "blank"),
    "v2-nothing": ({"errors": [{}]}, "refused"),
    "v2-odd-types": ({"errors": [{"reason": ["x"], "field": 5, "message": {"a": 1}}]}, "refused"),
    "v2-no-list": ({"errors": {"reason": "invalid"}}, "invalid"),
    "app": ({"errors": [{"detail": "wrong datacenter", "status": "301"}]}, "refused"),
    "html": (b"<html>", "answered 400"),
    "empty": (b"", "answered 400"),
    "log-injection": ({"meta": {"error": "a\r\n2026 ERROR \x1b[31m\u202e"}}, "a  2026 ERROR  [31m "),
    "long": ({"meta": {"error": "a" * 5000}}, "a" * 300),
    "long-list": ({"meta": {"errors": ["a"] * 5000}}, ("a; " * 100)),
}


@pytest.mark.parametrize(("body", "why"), WORDS.values(), ids=WORDS)
def test_the_reason_is_customer_io_s_own_words_on_one_line(body, why):
    """Both forms of the vendor's errors are read; the words are cut, and fit for a log."""
    for status, otherwise in ((400, "answered 400"), (422, "answered 422"), (413, "too large")):
        (refused,) = judged(status, body).refused.values()
        assert refused.text == why.replace("answered 400", otherwise)


REDIRECTS: dict[str, tuple[str, Verdict, str | None]] = {
    "other-host": (EU + "/api/v2/batch", MOVED, EU),
    "same-host": (US + "/api/v2/batch", DENIED, None),
    "evil": ("https://track.customer.io.evil.com/", DENIED, None),
    "user": ("https://track-eu.customer.io@evil.com/", DENIED, None),
    "downgrade": ("http://track-eu.customer.io/", DENIED, None),
    "v6-junk": ("https://[::1", DENIED, None),
    "relative": ("/login", DENIED, None),
    "missing": ("", DENIED, None),
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("location", "verdict", "base_url"), REDIRECTS.values(), ids=REDIRECTS)
def test_only_the_other_door_of_customer_io_is_followed(status, location, verdict, base_url):
    """Any other redirect keeps the events and sends nothing on."""
    outcome = judged(status, b"", {"location": location})
    assert (outcome.verdict, outcome.base_url) == (verdict, base_url)


def test_a_redirect_without_a_location_keeps_everything():
    """A header may be missing altogether."""
    assert judged(301, b"").verdict is DENIED


NOW = "Tue, 24 Nov 2026 04:00:00 GMT"
AFTER: dict[str, tuple[str, float | None]] = {
    "seconds": ("7", 7.0),
    "fraction": ("1.5", 1.5),
    "spaces": (" 7 ", 7.0),
    "zero": ("0", 1.0),
    "tiny": ("0.001", 1.0),
    "ten-minutes": ("600", 600.0),
    "more": ("601", 600.0),
    "billion": ("1e9", 600.0),
    "infinite": ("inf", 600.0),
    "endless-digits": ("9" * 5000, 600.0),
    "negative": ("-5", None),
    "nan": ("nan", None),
    "junk": ("soon", None),
    "empty": ("", None),
    "date": ("Tue, 24 Nov 2026 04:00:30 GMT", 30.0),
    "date-far": ("Wed, 25 Nov 2026 04:00:00 GMT", 600.0),
    "date-now": (NOW, 1.0),
    "date-past": ("Mon, 23 Nov 2026 04:00:00 GMT", None),
    "date-other-zone": ("Tue, 24 Nov 2026 06:00:30 +0200", 30.0),
    "date-no-zone": ("Tue, 24 Nov 2026 04:00:30", 30.0),
    "date-unknown-zone": ("Tue, 24 Nov 2026 04:00:30 -0000", 30.0),
    "date-rfc-850": ("Tuesday, 24-Nov-26 04:00:30 GMT", 30.0),
    "date-impossible": ("Tue, 99 Nov 2026 04:00:30 GMT", None),
    "date-huge": ("Tue, 24 Nov 99999999999999999999 04:00:30 GMT", None),
}


@pytest.mark.parametrize(("header", "seconds"), AFTER.values(), ids=AFTER)
def test_how_long_the_server_asked_to_wait(header, seconds):
    """Seconds or a date, between 1 and 600; a date is measured by the server's own clock."""
    answer = Response(429, {"retry-after": header, "date": NOW}, b"", received_at=12345.0)
    assert retry_after(answer) == seconds
    assert read(answer, US, 3).retry_after == seconds


def test_a_date_is_measured_by_our_clock_when_the_server_names_no_time():
    """`Date` may be missing, or be junk."""
    at = 1_795_492_800.0  # NOW
    for headers in ({}, {"date": "junk"}):
        answer = Response(503, {"retry-after": "Tue, 24 Nov 2026 04:00:30 GMT", **headers}, b"", received_at=at)
        assert retry_after(answer) == 30.0


def test_the_machine_s_zone_does_not_matter(monkeypatch):
    """A date without a zone is GMT, wherever this runs."""
    import time

    for zone in ("America/New_York", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            assert retry_after(Response(429, {"retry-after": "Tue, 24 Nov 2026 04:00:30", "date": NOW}, b"")) == 30.0
        finally:
            monkeypatch.undo()
            time.tzset()


HOSTILE = {
    "deep-list": b"[" * 60_000,
    "deep-object": b'{"a":' * 10_000,
    "deep-closed": b"[" * 30_000 + b"]" * 30_000,
    "deep-within": b'{"errors":[{"batch_index":0,"reason":' + b"[" * 900 + b"]" * 900 + b"}]}",
    "deep-meta": b'{"meta":{"errors":[' + b"[" * 900 + b"]" * 900 + b"]}}",
    "huge-number": b'{"errors":[{"batch_index":' + b"9" * 60_000 + b"}]}",
    "huge-exponent": b'{"errors":[{"batch_index":1e999999}]}',
    "surrogate": b'{"meta":{"error":"\\ud800"}}',
    "nul": b"\x00" * 100,
    "bom": b'\xef\xbb\xbf{"errors":[]}',
    "twice": b"{}{}",
    "many": b'{"errors":[' + b"{}," * 20_000 + b"{}]}",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_no_body_makes_the_judge_raise(body):
    """Whatever answers, for every status and kind of request there is a verdict."""
    for status in (200, 207, 400, 413, 429, 503):
        for count in (None, 1, 3):
            assert isinstance(judged(status, body, count=count).verdict, Verdict)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["errors", "meta", "error", "batch_index", "reason", "field"]), inner)
    ),
)


@given(
    st.integers(0, 999),
    ANYTHING.map(msgspec.json.encode) | st.binary(max_size=30),
    st.dictionaries(st.sampled_from(["retry-after", "location", "date"]), st.text(max_size=40)),
    st.none() | st.integers(1, 4),
)
def test_there_is_a_verdict_for_every_answer(status, body, headers, count):
    """No status, body or header raises; refused items are in the batch, waits are in bounds, and targets are ours."""
    outcome = read(Response(status, headers, body, 0.0), US, count)
    assert outcome.verdict in Verdict
    assert all(0 <= index < (count or 1) for index in outcome.refused)
    texts = [text for why in outcome.refused.values() for text in (why.reason, why.field, why.message)]
    assert all(text.isprintable() and len(text) <= 300 for text in texts)
    assert all(why.text for why in outcome.refused.values())
    assert outcome.retry_after is None or 1.0 <= outcome.retry_after <= 600.0
    assert outcome.base_url in {None, EU}
    assert (outcome.verdict is MOVED) == (outcome.base_url is not None)
