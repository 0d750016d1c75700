"""
Events as classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import msgspec

from ..exceptions import ConfigurationError, InvalidEvent
from ..wire import limits

# An attribute that the class does not know is a mistake.
_CONFIG = {"kw_only": True, "frozen": True, "gc": False, "forbid_unknown_fields": True}


if TYPE_CHECKING:
    from msgspec import StructMeta
else:
    StructMeta = type(msgspec.Struct)


class _EventMeta(StructMeta):
    """Takes `name=` in the class statement, and makes all fields keyword-only."""

    def __new__(
        mcs, cls_name: str, bases: tuple[type, ...], body: dict[str, Any], /, *, name: str = "", **config: Any
    ) -> Any:
        if bases and any(isinstance(base, _EventMeta) for base in bases):
            _check_name(cls_name, name)
        made: Any = super().__new__(mcs, cls_name, bases, body, **{**_CONFIG, **config})
        made.__event_name__ = name
        return made


def _check_name(cls_name: str, name: object) -> None:
    try:
        limits.name_json(name)  # type: ignore[arg-type]  # which is what it finds out
    except InvalidEvent:
        message = (
            f'{cls_name} has no name that Customer.io takes. Type class {cls_name}(cio.EventType, name="order_placed").'
        )
        raise ConfigurationError(message) from None


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class EventType(msgspec.Struct, metaclass=_EventMeta):
    """
    The base of an event with named attributes: fields with types, defaults, and units in their docstrings.

    `Client.track` takes an instance in place of a name and attributes. What `msgspec` can check, a field may say, such
    as `Annotated[str, msgspec.Meta(max_length=3)]`. A field left out by `msgspec.UNSET` is not sent.

    Raises:
        ConfigurationError: when the class is made, without a name that Customer.io takes.
    """

    __event_name__: ClassVar[str]

    if TYPE_CHECKING:

        def __init_subclass__(cls, *, name: str, rename: Mapping[str, str] | None = None) -> None: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> Any:
        yield ...
