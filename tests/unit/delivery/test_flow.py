"""Every rule of a delivery as a table: no clock, no socket, no thread."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware._events import Envelope
from cio_middleware._stats import DropReason
from cio_middleware.delivery.flow import Send, Settlement, Sleep, Told, deliver
from cio_middleware.delivery.retry import RetryPolicy
from cio_middleware.typing import Answer, Failure, Refusal, Response

OURS = "https://track.customer.io"
EU = "https://track-eu.customer.io"
OK = Response(200, {}, b"{}")
PATIENT = RetryPolicy(base=1.0, cap=10.0)
HURRIED = RetryPolicy(base=1.0, cap=10.0, attempts=3, budget=10.0)


def entries(count: int, route: Literal["batch", "single"] = "batch") -> list:
    """Queued events, told apart by their number."""
    who = '"type":"person","action":"event","identifiers":{{"id":"p"}}'
    item = "{{" + who + ',"name":"n","id":"{0}","timestamp":1,"attributes":{{}}}}'
    return [(Envelope(f"{index}", "event", route, 0, 0.0), item.format(index).encode()) for index in range(count)]


def ids_in(step: Send) -> list[int]:
    """The numbers of the events in a request."""
    body = msgspec.json.decode(step.request.body)
    return [int(item["id"]) for item in body.get("batch", [body])]


def status(code: int, body: bytes = b"{}", **headers: str) -> Response:
    """An answer."""
    return Response(code, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class Run:
    """Drives a flow with scripted answers: the last one repeats; sleeps take the time they ask for."""

    def __init__(self, answers: list, *, sleeps_until: float = float("inf"), takes: float = 0.0) -> None:
        self.answers = answers
        self.sends: list[Send] = []
        self.sleeps: list[float] = []
        self.elapsed = 0.0
        self._until = sleeps_until
        self._takes = takes

    def answer(self, step: Send) -> Answer:
        """What the server says to this request."""
        number = min(len(self.sends) - 1, len(self.answers) - 1)
        scripted = self.answers[number]
        answer: Answer = scripted(step) if callable(scripted) else scripted
        return answer

    def __call__(self, batch: list, policy: RetryPolicy = PATIENT, lives: list | None = None) -> Settlement:
        """Deliver the batch to its end."""
        flow = deliver(batch, OURS, policy, lambda: 0.5, lives)
        told: Told | None = None
        while True:
            try:
                step = flow.send(told)  # type: ignore[arg-type]  # None starts a generator
            except StopIteration as end:
                settlement: Settlement = end.value
                return settlement
            if isinstance(step, Sleep):
                self.sleeps.append(step.seconds)
                slept = self.elapsed + step.seconds <= self._until
                self.elapsed += step.seconds if slept else 0.0
                told = Told(self.elapsed, slept=slept)
            else:
                self.sends.append(step)
                self.elapsed += self._takes
                told = Told(self.elapsed, self.answer(step))


def test_a_batch_that_is_taken_is_one_request():
    """A success settles every event with one request."""
    run = Run([OK])
    settlement = run(entries(3))
    assert settlement.delivered == [0, 1, 2]
    assert [ids_in(send) for send in run.sends] == [[0, 1, 2]]
    assert (settlement.attempts, settlement.retries) == (1, 0)


def test_only_the_listed_items_of_a_207_are_refused():
    """Each item of a partial answer is settled by itself, and nothing is sent again."""
    body = b'{"errors":[{"batch_index":1,"reason":"invalid","field":"name","message":"too long"}]}'
    run = Run([status(207, body)])
    settlement = run(entries(3))
    assert settlement.delivered == [0, 2]
    assert settlement.refused == {1: Refusal("invalid", "name", "too long")}
    assert len(run.sends) == 1


BUSY = [
    pytest.param(status(429), id="429"),
    pytest.param(status(408), id="408"),
    pytest.param(status(425), id="425"),
    pytest.param(status(500), id="500"),
    pytest.param(status(502, b"<html>"), id="502 html"),
    pytest.param(status(503), id="503"),
    pytest.param(status(200, b"<html>hello</html>"), id="200 html"),
    pytest.param(status(207, b"not json"), id="207 unreadable"),
    pytest.param(Failure("httpx.ConnectError"), id="no answer"),
]


@pytest.mark.parametrize("busy", BUSY)
def test_what_may_pass_is_sent_again_with_the_same_bytes(busy):
    """A passing failure resends exactly the same body, so the ULIDs in it are the same."""
    run = Run([busy, busy, OK])
    settlement = run(entries(2))
    assert settlement.delivered == [0, 1]
    assert len({send.request.body for send in run.sends}) == 1
    assert [send.resend for send in run.sends] == [0, 1, 2]
    assert run.sleeps == [0.5, 1.0]
    assert settlement.retries == 2


def test_the_server_decides_when_to_come_back():
    """Retry-After is never undercut, and a little jitter keeps many processes apart."""
    run = Run([status(429, retry_after="7"), OK])
    run(entries(1))
    assert run.sleeps == [pytest.approx(7.35)]


def test_a_poisoned_batch_loses_only_the_poison():
    """One item that makes Customer.io refuse a batch of 738 costs about two requests per halving; 737 are delivered."""
    run = Run([lambda send: status(400) if 500 in ids_in(send) else OK])
    settlement = run(entries(738))
    assert list(settlement.refused) == [500]
    assert settlement.delivered == [index for index in range(738) if index != 500]
    assert len(run.sends) <= 2 * 10 + 1


def test_bisecting_keeps_the_order():
    """The halves of a refused batch are delivered in the order of capture."""
    run = Run([lambda send: status(400) if 3 in ids_in(send) else OK])
    settlement = run(entries(8))
    assert settlement.delivered == sorted(settlement.delivered)


def test_a_batch_that_is_too_large_is_halved():
    """A 413 splits the batch until it fits; nothing is refused."""
    run = Run([lambda send: status(413) if len(ids_in(send)) > 2 else OK])
    settlement = run(entries(8))
    assert settlement.delivered == list(range(8))
    assert [len(ids_in(send)) for send in run.sends] == [8, 4, 2, 2, 4, 2, 2]


def test_a_single_item_that_is_too_large_is_refused():
    """There is nothing left to split in one item."""
    settlement = Run([status(413)])(entries(1))
    assert list(settlement.refused) == [0]


@pytest.mark.parametrize("code", [401, 403, 404, 405, 407, 302, 308])
def test_a_wrong_setting_keeps_everything_and_probes(code):
    """A refused key or a wrong address discards nothing: one request a minute, then every ten, until it is taken."""
    run = Run([status(code, location="https://evil.example/")] * 6 + [OK])
    settlement = run(entries(5))
    assert settlement.delivered == [0, 1, 2, 3, 4]
    assert run.sleeps == [60, 120, 240, 480, 600, 600]
    assert len(run.sends) == 7


def test_a_redirect_between_the_two_hosts_is_followed_with_the_same_body():
    """A workspace of the other region moves the delivery, and all later ones, to the other Track host."""
    run = Run([status(301, location=f"{EU}/api/v2/batch"), OK])
    settlement = run(entries(2))
    assert [send.base_url for send in run.sends] == [OURS, EU]
    assert len({send.request.body for send in run.sends}) == 1
    assert settlement.base_url == EU
    assert settlement.delivered == [0, 1]
    assert run.sleeps == []


def test_a_redirect_to_and_fro_is_not_followed_for_ever():
    """Two hosts that point at each other end in probing, with everything kept."""
    answers = [status(307, location=EU), status(307, location=OURS), OK]
    run = Run(answers)
    settlement = run(entries(1))
    assert settlement.delivered == [0]
    assert run.sleeps == [120]


@pytest.mark.parametrize("busy", BUSY)
def test_a_hurried_delivery_gives_up_after_its_attempts(busy):
    """Where somebody waits, three retries are all, and the events are given up, not kept."""
    run = Run([busy])
    settlement = run(entries(1), HURRIED)
    assert len(run.sends) == 4
    assert settlement.exhausted == [0]
    assert settlement.given_up_for is DropReason.RETRIES_EXHAUSTED


def test_a_hurried_delivery_does_not_wait_beyond_its_budget():
    """A wait that the deadline would cut is not begun."""
    run = Run([status(429, retry_after="60")])
    settlement = run(entries(1), HURRIED)
    assert (len(run.sends), run.sleeps) == (1, [])
    assert settlement.exhausted == [0]


def test_a_hurried_delivery_does_not_probe_a_refused_key():
    """A wrong key does not get better while somebody waits."""
    run = Run([status(401)])
    settlement = run(entries(1), HURRIED)
    assert len(run.sends) == 1
    assert settlement.given_up_for is DropReason.UNAUTHORIZED


def test_an_outage_of_two_days_loses_nothing_without_max_age():
    """A patient delivery goes on for as long as it takes, at the capped pace."""
    run = Run([Failure("httpx.ConnectError")])
    until = 48 * 3600

    def recovers(_: Send) -> Answer:
        return OK if run.elapsed > until else Failure("httpx.ConnectError")

    run.answers = [recovers]
    settlement = run(entries(1))
    assert settlement.delivered == [0]
    assert max(run.sleeps) <= 10.0


def test_each_event_expires_by_itself():
    """What waited too long is given up at the next attempt; the others are delivered."""
    run = Run([status(503), status(503), status(503), OK])
    settlement = run(entries(3), lives=[0.4, 100.0, 100.0])
    assert settlement.expired == [0]
    assert settlement.delivered == [1, 2]
    assert ids_in(run.sends[1]) == [1, 2]


def test_every_batch_is_tried_once():
    """A clock that was set forward makes every event look old; what Customer.io would take is sent all the same."""
    run = Run([OK])
    assert run(entries(2), lives=[-1.0, -1.0]).delivered == [0, 1]


def test_a_batch_whose_events_all_expired_is_not_sent_again():
    """After a failure, nothing is sent for nobody."""
    run = Run([status(503)])
    settlement = run(entries(2), lives=[-1.0, -1.0])
    assert (len(run.sends), settlement.expired) == (1, [0, 1])


def test_a_wait_that_is_cut_short_releases_what_is_left():
    """When the process ends, undelivered events go back to the queue, none is given up here."""
    run = Run([lambda send: status(400) if len(ids_in(send)) == 4 else status(503)], sleeps_until=0.1)
    settlement = run(entries(4))
    assert sorted(settlement.released) == [0, 1, 2, 3]


@pytest.mark.parametrize(("route", "damaged"), [("single", b'{"action":'), ("batch", None)], ids=["v1", "batch"])
def test_an_item_of_which_no_request_can_be_made_is_refused(route, damaged):
    """A queue may give an item back damaged: it is found as any poison is, no request holds it, the others arrive."""
    run, batch = Run([OK]), entries(1 if route == "single" else 5, route)
    batch[-1] = (batch[-1][0], damaged)
    settlement = run(batch)
    assert list(settlement.refused) == [len(batch) - 1]
    assert sorted(settlement.delivered) == list(range(len(batch) - 1))
    assert sum(len(ids_in(step)) for step in run.sends) == len(batch) - 1


def test_a_single_goes_by_v1():
    """An event that cannot travel in a batch goes to its own address, with the same id."""
    run = Run([OK])
    settlement = run(entries(1, "single"))
    assert settlement.delivered == [0]
    assert run.sends[0].request.path == "/api/v1/customers/p/events"
    assert msgspec.json.decode(run.sends[0].request.body)["id"] == "0"


answers = st.lists(
    st.sampled_from([
        OK, status(400), status(413), status(503), status(429), status(401), Failure("x.Y"), status(200, b"<html>"),
        status(207, b'{"errors":[{"batch_index":0,"reason":"invalid"}]}'), status(301, location=EU), status(302, location="http://x"),
    ]),
    min_size=1, max_size=12,
)  # fmt: skip


@given(scripted=answers, count=st.integers(1, 9), hurried=st.booleans(), cut=st.floats(0, 500))
def test_every_event_ends_in_exactly_one_column(scripted, count, hurried, cut):
    """Whatever the server says in whatever order, each event ends in one column, once."""
    run = Run([*scripted, OK], sleeps_until=cut)
    settlement = run(entries(count), HURRIED if hurried else PATIENT, lives=[50.0 * n for n in range(1, count + 1)])
    ended = [
        *settlement.delivered,
        *settlement.refused,
        *settlement.expired,
        *settlement.exhausted,
        *settlement.released,
    ]
    assert sorted(ended) == list(range(count))
