"""
What hangs on a sandbox's handle: the levers of its faults, and the people that it knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cio_middleware.testing._failure import SHOWN
from cio_middleware.testing._seen import SeenFault, SeenPerson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Faults:
    """The levers of one workspace."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def script(self, steps: Sequence[str], *, match: Mapping[str, Any] | None = None) -> None:
        """
        Answer the next requests with these steps, one each.

        Args:
            steps: Such as ``["429;retry_after=1", "ack_lost", "ok*"]``; a last step with ``*`` repeats, after
                another one all is normal.
            match: Which requests take a step, such as ``{"endpoint": "track.v2.batch"}``; None means all.
        """
        self._call("PUT", "/faults/script", json={"steps": list(steps), "match": match})

    def rule(
        self,
        *,
        do: Mapping[str, Any],
        match: Mapping[str, Any] | None = None,
        when: Mapping[str, Any] | None = None,
        label: str = "",
    ) -> str:
        """Add a rule after the others, and return its id; the sandbox's reference lists what may be said."""
        answer = self._call("POST", "/faults", json={"do": do, "match": match, "when": when, "label": label})
        return str(answer["id"])

    def scenario(self, name: str) -> None:
        """
        Start a scenario that the sandbox knows by name, such as ``outage-30s``.

        Raises:
            LookupError: there is none of that name; the message names those that there are.
        """
        self._call("POST", f"/faults/scenarios/{quote(name, safe='')}")

    def rules(self) -> list[SeenFault]:
        """Return the rules, with how many requests each has seen and hit."""
        return [SeenFault.of(item) for item in self._call("GET", "/faults")["rules"]]

    def clear(self) -> None:
        """Put every fault away."""
        self._call("DELETE", "/faults")


class NoFaults(Faults):
    """In memory no request is made, so none can fail, and a test that believes otherwise would prove nothing."""

    def __init__(self) -> None:
        super().__init__(self._refuse)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("in memory no request is made that could fail. Use the fixture cio_sandbox for faults")


class People:
    """The profiles of one workspace, by id, email, phone, cio_id or anonymous id."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getitem__(self, key: str) -> SeenPerson:
        if (found := self._find(key)) is None:
            raise KeyError(f"nobody here is called {key!r}; {self._here()}")
        return found

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def __iter__(self) -> Iterator[SeenPerson]:
        return (SeenPerson.of(item) for item in self._call("GET", "/people")["items"])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, key: str) -> SeenPerson | None:
        try:
            return SeenPerson.of(self._call("GET", f"/people/{quote(key, safe='')}"))
        except LookupError:
            return None

    def _here(self) -> str:
        keys = [person.key for person in self]
        more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        return f"here: {', '.join(keys[:SHOWN])}{more}" if keys else "nobody is here at all"
