"""
What Customer.io documents as a limit, and what it leaves open: every guess of this sandbox, in one place.

`Limits` holds numbers that the vendor's API reference and its list of error messages state. `Fidelity` holds
the choices that no source settles. Their defaults, the other sides, and what is known of each stand in
``fidelity.toml``, so that a reader can tell a fact from a decision, and a test can take the other side.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Doubt:
    """
    One thing that no source settles.

    Attributes:
        value: What the sandbox does unless told otherwise.
        alternatives: The other sides that it can take.
        sentence: What is decided, and why.
        source: Where it was looked for.
        sure: ``documented``, ``seen`` or ``guess``.
    """

    key: str
    value: Any
    alternatives: tuple[Any, ...]
    sentence: str
    source: str
    sure: Literal["documented", "seen", "guess"]


def _read() -> dict[str, Doubt]:
    text = files("cio_middleware.sandbox").joinpath("fidelity.toml").read_text("utf-8")
    entries = tomllib.loads(text).items()
    return {key: Doubt(key, **{**said, "alternatives": tuple(said["alternatives"])}) for key, said in entries}


DOUBTS = _read()
"""Every entry of ``fidelity.toml``, by its key, in the order of the file."""


def _value(key: str) -> Any:
    return DOUBTS[key].value


@dataclass(frozen=True, slots=True)
class Limits:
    """Documented limits. Sizes are bytes of UTF-8, never characters; exactly the limit is accepted."""

    identifier_bytes: int = 150
    attribute_name_bytes: int = 150
    attribute_value_bytes: int = 1000
    attributes_per_call: int = 300
    event_name_bytes: int = 100
    event_data_bytes: int = 100_000
    object_attributes_bytes: int = 100_000
    segment_ids: int = 1000
    item_kilobytes: int = 32
    batch_kilobytes: int = 500


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Choices that no source settles, the cautious side as the default; ``fidelity.toml`` says why."""

    limits: Limits = field(default_factory=Limits)

    kilobyte: int = _value("kilobyte")
    page_name_bytes: int = _value("page_name_bytes")
    unknown_person: Literal["keep", "drop"] = _value("unknown_person")
    email_update_by_id: bool = _value("email_update_by_id")
    late_merge_seconds: float = _value("late_merge_seconds")
    oversized_status: int = _value("oversized_status")
    unauthorized: str = _value("unauthorized")
    retry_after_on_429: str = _value("retry_after_on_429")
    non_finite: Literal["refuse", "discard"] = _value("non_finite")
    millisecond_timestamps: Literal["accept", "refuse"] = _value("millisecond_timestamps")
    write_key_pair: Literal["refuse", "accept"] = _value("write_key_pair")
    pipelines_success: Literal["success", "empty"] = _value("pipelines_success")
    pipelines_error: Literal["meta", "code"] = _value("pipelines_error")
    pipelines_strict_batch: Literal["whole", "item"] = _value("pipelines_strict_batch")
    pipelines_repeat: Literal["message_id", "stored"] = _value("pipelines_repeat")
    pipelines_alias: Literal["merge", "ignore"] = _value("pipelines_alias")
    batch_items: int = _value("batch_items")
    json_depth: int = _value("json_depth")

    def item_bytes(self) -> int:
        """Return the largest item of v2 or of Pipelines, in bytes as sent."""
        return self.limits.item_kilobytes * self.kilobyte

    def batch_bytes(self) -> int:
        """Return the largest batch body, in bytes as sent."""
        return self.limits.batch_kilobytes * self.kilobyte

    def differences(self) -> list[dict[str, Any]]:
        """Return every doubt as it appears in the control API, with what holds in this sandbox beside the default."""
        return [
            {**asdict(doubt), "value": getattr(self, doubt.key), "default": doubt.value} for doubt in DOUBTS.values()
        ]
