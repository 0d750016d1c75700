"""The ledger as metrics, as a user's metrics backend sees it."""

from __future__ import annotations

import gc

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

import cio_middleware as cio


class Meters:
    """A meter provider of the test's own, and what it collects."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def read(self) -> dict[str, dict[tuple[str, str | None], float]]:
        """Values by metric, then by component and `error.type`; a histogram counts its records."""
        found: dict[str, dict[tuple[str, str | None], float]] = {}
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = found.setdefault(metric.name.removeprefix("customerio.client."), {})
                    for point in metric.data.data_points:
                        attributes = dict(point.attributes or {})
                        error_type = attributes.get("error.type")
                        key = (
                            str(attributes["customerio.component.name"]),
                            None if error_type is None else str(error_type),
                        )
                        points[key] = point.value if isinstance(point, NumberDataPoint) else point.count
        return found


@pytest.fixture(name="meters")
def _meters() -> Meters:
    return Meters()


def values(points: dict[tuple[str, str | None], float]) -> dict[str | None, float]:
    """The values of one client, by `error.type`."""
    return {error_type: value for (_, error_type), value in points.items()}


def test_metrics_say_what_the_ledger_says(make_client, sandbox, meters):
    """Captured, sent, refused, dropped and pending are the ledger's counts, and the law holds among them."""
    client = make_client(max_queue_events=4, client_options={"meter_provider": meters.provider}, flush_interval=60.0)
    sandbox.faults.script(["503", "partial=0", "ok*"])
    for number in range(6):
        client.track("step", {"n": number}, person="ada")
    client.track("", person="ada")
    before = meters.read()
    assert values(before["event.pending"]) == {None: 4}
    assert client.flush(5)

    found = meters.read()

    assert values(found["event.captured"]) == {None: 7}
    assert values(found["event.sent"]) == {None: 3, "rejected": 1}
    assert values(found["event.dropped"]) == {"queue_full": 2, "invalid_event": 1}
    assert values(found["event.pending"]) == {None: 0}
    assert values(found["send.requests"]) == {None: 2}
    assert values(found["send.retries"]) == {None: 1}
    assert values(found["send.batch.size"]) == {None: 1}
    assert values(found["send.duration"]) == {"rejected": 1}
    assert "queue.oldest_event.age" not in found


def test_the_age_of_the_oldest_event_shows_a_queue_that_stands(make_client, meters, clock):
    """While events wait, their age is observed; this is what to alert on."""
    client = make_client(flush_interval=3600.0, client_options={"meter_provider": meters.provider, "clock": clock})
    client.track("step", person="ada")
    clock.advance(90)
    assert values(meters.read()["queue.oldest_event.age"]) == {None: 90.0}


def test_every_client_is_observed_and_a_dead_one_is_not(sandbox, meters):
    """Two clients on one provider are told apart; one that is gone is observed no more and holds nothing alive."""
    settings = cio.Settings(**sandbox.settings)
    with cio.Client(settings, meter_provider=meters.provider) as one:
        one.track("step", person="ada")
        two = cio.Client(settings, meter_provider=meters.provider)
        assert len(meters.read()["event.captured"]) == 2
        two.close()
        del two
        gc.collect()
        assert len(meters.read()["event.captured"]) == 1


def test_no_metric_holds_a_person_or_a_name(make_client, sandbox, meters):
    """Attributes are few and fixed: no person, no event's name."""
    client = make_client(client_options={"meter_provider": meters.provider})
    sandbox.faults.script(["400", "ok*"])
    client.track("canary", {"secret": "canary"}, person="canary")
    client.identify("canary", {"secret": "canary"})
    assert client.flush(5)
    data = meters.reader.get_metrics_data()
    assert data is not None
    assert "canary" not in data.to_json()


def test_a_direct_send_is_measured_and_no_batch(make_client, meters):
    """The duration of a direct send is recorded; it has no batch size."""
    client = make_client(backend="direct", client_options={"meter_provider": meters.provider})
    client.track("paid", person="ada")
    found = meters.read()
    assert values(found["send.duration"]) == {None: 1}
    assert "send.batch.size" not in found
