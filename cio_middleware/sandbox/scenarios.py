"""
Bad days with a name: each is a few rules that are put at once, in place of those of the scenario before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox import faultspec

if TYPE_CHECKING:
    from cio_middleware.sandbox.faults import Faults

PREFIX = "scenario-"
"""How the ids of a scenario's rules begin."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    A bad day.

    Attributes:
        sentence: What happens, and what to look for.
        rules: The rules that make it, as JSON.
    """

    name: str
    sentence: str
    rules: tuple[dict[str, Any], ...]

    @property
    def slug(self) -> str:
        """The name as it stands in the ids of the rules."""
        return self.name.rstrip("%")


SCENARIOS = (
    Scenario(
        "outage-30s",
        "Customer.io is down for 30 seconds: every call is answered 503, and nothing may be lost.",
        ({"label": "503 for 30 s", "when": {"mode": "always", "for_s": 30}, "do": {"type": "status", "status": 503}},),
    ),
    Scenario(
        "brownout",
        "Customer.io is slow and fails one call in five: the app must not become slow with it.",
        (
            {"label": "+800 to 2000 ms", "do": {"type": "latency", "ms": 800, "jitter_ms": 1200}},
            {
                "label": "503, one in five",
                "when": {"mode": "chance", "p": 0.2, "seed": 1},
                "do": {"type": "status", "status": 503},
            },
        ),
    ),
    Scenario(
        "throttle",
        "More than 5 requests a second, after a burst of 10, get a 429 with a Retry-After: a client must slow down.",
        ({"label": "5 requests/s", "do": {"type": "rate_limit", "rate": 5, "burst": 10, "hint": "seconds"}},),
    ),
    Scenario(
        "flaky-5%",
        "One call in twenty fails, by a 503 or by a connection that breaks: retries must make up for it.",
        (
            {"label": "reset, 1 in 40", "when": {"mode": "chance", "p": 0.025, "seed": 1}, "do": {"type": "reset"}},
            {
                "label": "503, 1 in 40",
                "when": {"mode": "chance", "p": 0.025, "seed": 2},
                "do": {"type": "status", "status": 503},
            },
        ),
    ),
    Scenario(
        "ack-lost",
        "Every third call is stored and its answer lost: an event that is sent again must not be there twice.",
        ({"label": "stored, answer lost", "when": {"mode": "every", "n": 3}, "do": {"type": "ack_lost"}},),
    ),
    Scenario(
        "partial-batch",
        "The second item of every batch is refused with a 207: the others are stored, and the one must be noticed.",
        (
            {
                "label": "item 2 refused",
                "match": {"endpoint": "track.v2.batch"},
                "do": {"type": "partial", "indexes": [1]},
            },
        ),
    ),
    Scenario(
        "wrong-region",
        "Every call is sent to another host with a 301: no event may count as delivered, and no key may go along.",
        (
            {
                "label": "301 to another region",
                "do": {"type": "redirect", "status": 301, "to": "https://track-eu.sandbox.invalid"},
            },
        ),
    ),
    Scenario(
        "revoked-key",
        "The key is refused with 401, always: a client must keep its events and say so.",
        ({"label": "401", "do": {"type": "status", "status": 401}},),
    ),
)
"""Every scenario, in the order in which they are shown."""


class NoScenario(LookupError):
    """There is no scenario of that name; the message lists them."""


def start(faults: Faults, name: str) -> Scenario:
    """
    Put the rules of a scenario behind those that are set, in place of the scenario before.

    Raises:
        NoScenario: for a name that is not known.
    """
    found = next((scenario for scenario in SCENARIOS if name in (scenario.name, scenario.slug)), None)
    if found is None:
        raise NoScenario(f"there is no scenario {name!r:.80}. Known: {', '.join(one.name for one in SCENARIOS)}")
    stop(faults)
    for number, given in enumerate(found.rules, 1):
        faults.put(faultspec.rule(given, f"{PREFIX}{found.slug}-{number}"))
    return found


def stop(faults: Faults) -> None:
    """Remove the rules of a scenario, whichever it is."""
    for rule_id in faults.ids():
        if rule_id.startswith(PREFIX):
            faults.drop(rule_id)


def shown(faults: Faults) -> list[dict[str, Any]]:
    """Return the scenarios as they appear in the control API: what each is, what it does, and whether it runs."""
    set_now = faults.ids()
    return [
        {
            "name": one.name,
            "sentence": one.sentence,
            "does": [rule["label"] for rule in one.rules],
            "rules": list(one.rules),
            "running": any(rule_id.startswith(f"{PREFIX}{one.slug}-") for rule_id in set_now),
        }
        for one in SCENARIOS
    ]
