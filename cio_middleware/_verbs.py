"""
The verbs about people, devices and objects. Rare beside `track`, and built for clarity alone.
"""

from __future__ import annotations

from collections.abc import Callable

from ._assembly import Parts
from ._context import RequestCell, current, overlay
from ._discreet import discreet
from ._events import Identity, Kind
from .exceptions import InvalidEvent
from .typing import Attributes, Person, Timestamp
from .wire import limits, verbs


class Verbs:
    """
    Part of `Client`. Each returns the ULID under which log lines and spans know the call; None when nothing is sent.

    All raise `InvalidEvent` with `debug`, and `DeliveryError` on the direct backend with `on_error="raise"`; otherwise
    nothing.
    """

    _parts: Parts

    @discreet
    def delete(self, person: Person) -> str | None:
        """Delete a person and what is known about them. A later event of theirs creates them anew; see `suppress`."""
        return self._tell_person("delete", person)

    @discreet
    def suppress(self, person: Person) -> str | None:
        """Delete a person, and ignore all that comes about them from now on."""
        return self._tell_person("suppress", person)

    @discreet
    def unsuppress(self, person: Person) -> str | None:
        """Take a person in again. What was deleted stays so."""
        return self._tell_person("unsuppress", person)

    @discreet
    def merge(self, primary: Person, secondary: Person) -> str | None:
        """
        Make one person of two: the first gets the second's events and missing attributes, the second is deleted.

        Customer.io cannot undo it.
        """
        return self._tell(lambda: verbs.merge(Identity.of(primary), Identity.of(secondary)))

    @discreet
    def add_device(
        self,
        token: str,
        platform: str,
        *,
        person: Person | None = None,
        last_used: Timestamp | None = None,
        attributes: Attributes | None = None,
    ) -> str | None:
        """
        Say where push messages reach a person.

        Args:
            token: What the push service gave the app.
            platform: `ios` or `android`.
            person: Whose. Default: `bound()`, else the request's person.
            last_used: When, as Unix seconds or a datetime.
            attributes: Of the device, such as `app_version`.
        """

        def form() -> verbs.Form:
            used = None if last_used is None else limits.unix_seconds(last_used)
            return verbs.device(self._whose(person), token, platform, used)

        return self._tell(form, attributes)

    @discreet
    def delete_device(self, token: str, *, person: Person | None = None) -> str | None:
        """Send no more push messages there. `person` as for `add_device`."""
        return self._tell(lambda: verbs.delete_device(self._whose(person), token))

    @discreet
    def identify_object(
        self, type_id: str | int, object_id: str | int, attributes: Attributes | None = None
    ) -> str | None:
        """
        Say what is known about an object, such as a company or a course.

        Args:
            type_id: The number of its type in the workspace, from 1 (Customer.io, Data & Integrations, Objects).
            object_id: Its id in your system, at most 150 bytes.
            attributes: As for `identify`.
        """
        return self._tell(lambda: verbs.change_object(verbs.thing(type_id, object_id)), attributes)

    @discreet
    def delete_object(self, type_id: str | int, object_id: str | int) -> str | None:
        """Delete an object and its relationships."""
        return self._tell(lambda: verbs.delete_object(verbs.thing(type_id, object_id)))

    @discreet
    def relate(
        self, person: Person, type_id: str | int, object_id: str | int, attributes: Attributes | None = None
    ) -> str | None:
        """Say that a person belongs to an object; `attributes` are the relationship's, such as a role."""
        return self._tell(lambda: verbs.relate(Identity.of(person), verbs.thing(type_id, object_id)), attributes)

    @discreet
    def unrelate(self, person: Person, type_id: str | int, object_id: str | int) -> str | None:
        """Say that a person belongs to an object no more."""
        return self._tell(lambda: verbs.unrelate(Identity.of(person), verbs.thing(type_id, object_id)))

    @discreet
    def invite(self, name: str, recipient: str, attributes: Attributes | None = None) -> str | None:
        """
        Capture an event about somebody who is no person yet, such as an invitation that a campaign sends.

        Args:
            name: As for `track`.
            recipient: The address that the campaign's message goes to.
            attributes: As for `track`.
        """
        return self._send_verb(
            lambda event_id, at: verbs.invite(limits.name_json(name), recipient, event_id, at), attributes
        )

    def _tell_person(self, kind: Kind, person: Person) -> str | None:
        return self._tell(lambda: verbs.about_person(kind, Identity.of(person)))

    def _tell(self, form: Callable[[], verbs.Form], attributes: Attributes | None = None) -> str | None:
        return self._send_verb(lambda _id, _at: form(), attributes)

    def _send_verb(self, form: Callable[[str, int], verbs.Form], attributes: Attributes | None) -> str | None:
        packed = self._parts.capture.verb(form, attributes)
        return None if packed is None else self._parts.dispatch.send(*packed)

    def _whose(self, person: Person | None) -> Identity:
        cell: RequestCell | None = current.get()
        identity, _ = self._parts.people.explicit(person, None, overlay.get())
        if identity is None and cell is not None and cell.client is self:
            identity = self._parts.people.known(cell)
        if identity is None:
            message = "nobody is known whose device it is. Pass person=."
            raise InvalidEvent(message)
        return identity
