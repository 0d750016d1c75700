"""
The texts of a test that failed: what was expected, what came closest, and what else a workspace has seen.

Whatever an event says is shown as `plain` shows it: a report is read in a terminal.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from cio_middleware.sandbox.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cio_middleware.testing._seen import SeenEvent

SHOWN = 5
"""Events that a failure names, and names of people that a `KeyError` lists."""
SHOWN_TEXT = 120
LEDGER = 20
"""Events in the report of a test that failed."""
GLYPHS = {
    "accepted": "●", "accepted_but": "▲", "rejected": "■", "fault": "ϟ", "duplicate": "◇", "ignored": "◌",
    "never_sent": "∅",
}  # fmt: skip


def nothing_matched(wish: Mapping[str, Any], answer: Mapping[str, Any], watch: str = "") -> str:
    """
    Return the text of a failed wait.

    Args:
        wish: What was asked for.
        answer: What the sandbox said instead.
        watch: How to look at it, as something to type or to open.
    """
    lines = [f"{_headline(wish, answer)}  {_wanted(wish['match'])}"]
    lines += [_found(row) for row in answer["matched"][:SHOWN]]
    if len(answer["matched"]) > SHOWN:
        lines.append(f"  and {len(answer['matched']) - SHOWN} more")
    closest = _closest(wish["match"], answer["near_misses"])
    if closest:
        lines.append(f"Closest ({len(closest)} of {answer['total']} seen):")
        lines += [_near(miss) for miss in closest]
    if answer["hint"]:
        lines.append(answer["hint"])
    named = {miss["event"]["seq"] for miss in closest} | {row["seq"] for row in answer["matched"]}
    others = [row for row in answer["seen"] if row["seq"] not in named]
    if others:
        lines.append(f"Also seen: {', '.join(_called(row) for row in others)}")
    lines.append(f"Never sent: {_never_sent(answer)}" + (f"   Watch it: {watch}" if watch else ""))
    return _plain(lines)


def unexpected(bad: Sequence[SeenEvent], *, strict: bool) -> str:
    """Return the text of a test that ends with bad events that it did not look at."""
    what = "was lost or has warnings" if strict else "was lost"
    count = f"{len(bad)} event{'s' if len(bad) > 1 else ''}"
    lines = [f"{count} that this test did not look at {what}:"]
    for event in bad[:SHOWN]:
        lines.append(f"  #{event.seq} {event.name or event.kind}  {event.person or ''}  {event.verdict}")
        findings = event.errors or event.warnings
        lines += [f"     {_said(finding.message or finding.explain, finding.fix)}" for finding in findings]
        if event.drop_reason:
            lines.append(f"     dropped before it was sent: {event.drop_reason}")
    if len(bad) > SHOWN:
        lines.append(f"  and {len(bad) - SHOWN} more")
    lines.append("Expected? Look at cio_sandbox.bad in the test, or mark it: @pytest.mark.cio(allow_problems=True)")
    return _plain(lines)


def ledger(events: Sequence[SeenEvent], where: str = "") -> str:
    """Return the newest events as lines, oldest first, and where there are more of them."""
    lines = [_line(event) for event in events[-LEDGER:]]
    if len(events) > LEDGER:
        lines.insert(0, f"the newest {LEDGER} of {len(events)} events")
    lines += [] if events else ["nothing arrived"]
    return _plain([*lines, *([where] if where else [])])


def _line(event: SeenEvent) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(event.received_at)) + f".{int(event.received_at % 1 * 1000):03d}"
    finding = next(iter(event.errors or event.warnings), None)
    said = event.drop_reason or (finding and (finding.message or finding.explain)) or ""
    attempts = f"{event.attempts} attempts" if event.attempts > 1 else ""
    outcome = str(event.statuses[-1]) if event.statuses else ""
    words = (
        clock, GLYPHS.get(event.verdict, "?"), f"#{event.seq}", event.name or event.kind, event.person or "",
        event.verdict, outcome, attempts, _given(event.data), said,
    )  # fmt: skip
    return "  ".join(_cut(word) for word in words if word)


def _headline(wish: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    found = len(answer["matched"])
    expected = next((f"{name}={wish[name]}" for name in ("exactly", "at_most", "count") if name in wish), None)
    if expected is None:
        return f"No event matched within {wish['timeout_ms'] / 1000:.1f} s:"
    return f"{found} events matched within {answer['waited_ms'] / 1000:.1f} s, expected {expected}:"


def _wanted(match: Mapping[str, Any]) -> str:
    words = [str(match["name"])] if "name" in match else []
    words += [f"{key}={value}" for key, value in match.items() if key not in {"name", "data", "good"}]
    words += [f"data ⊇ {json.dumps(match['data'], ensure_ascii=False)}"] if "data" in match else []
    return "  ".join(words)


def _closest(match: Mapping[str, Any], misses: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those with the name that was waited for, if any has it: another name is no near miss beside these."""
    named = [miss for miss in misses if all(path != "name" for path, _, _ in miss["diff"])]
    return list(named if named and "name" in match else misses)


def _found(row: Mapping[str, Any]) -> str:
    what = f"#{row['seq']} {row['name'] or row['kind']}"
    return f"  {what}  {row['person'] or ''}  {row['verdict']}   {_given(row['data'])}"


def _given(data: Any) -> str:
    """What the caller gave, without what a library adds."""
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name != "context" and not name.startswith("_")}
    return json.dumps(data, ensure_ascii=False)[:SHOWN_TEXT] if data else ""


def _near(miss: Mapping[str, Any]) -> str:
    event = miss["event"]
    diffs = "; ".join(f"{path}: expected {_shown(expected)}, got {_shown(got)}" for path, expected, got in miss["diff"])
    what = f"#{event['seq']} {event['name'] or event['kind']}"
    return f"  {what}  {event['person'] or ''}  {event['verdict']}   {diffs}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"{text} (string)" if isinstance(value, str) and value.replace(".", "", 1).isdigit() else text


def _called(row: Mapping[str, Any]) -> str:
    what = (row["kind"], row["name"]) if row["kind"] in {"page", "screen"} else (row["name"] or row["kind"],)
    return " ".join(word for word in (f"#{row['seq']}", *what, row["person"]) if word)


def _never_sent(answer: Mapping[str, Any]) -> str:
    lost = answer.get("never_sent") or []
    if not lost:
        return "0."
    reasons = ", ".join(f"{row['name'] or row['kind']} ({row['drop_reason']})" for row in lost[-SHOWN:])
    return f"{len(lost)}: {reasons}."


def _said(message: str, fix: str) -> str:
    return f"{message}. {fix}" if fix and not message.endswith(".") else f"{message} {fix}".strip()


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_TEXT else text[: SHOWN_TEXT - 1] + "…"


def _plain(lines: Iterable[str]) -> str:
    return "\n".join(plain(line) for line in lines)
