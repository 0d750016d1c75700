"""
Send an app the reporting webhook that Customer.io would send it, signed as Customer.io signs.

The signature is HMAC-SHA256, as hex, over ``v0:<timestamp>:<body>`` with the bytes of the body as they travel: an app
that decodes the body and encodes it again has another text, and another signature. `compose` decides everything and
touches no socket; `deliver` sends it, to this machine alone unless a host was allowed, once, and follows no redirect.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import secrets
import time
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection

SIGNING_KEY = "cio-sandbox-signing-key"
"""With which the sandbox signs unless a call names another: nothing secret, for an app in development."""

SECONDS = 4.0
"""What Customer.io waits for an answer."""

REPLY_BYTES = 64 * 1024
EXAMPLE = '{"to": "http://127.0.0.1:8000/webhooks/customerio", "type": "email.bounced", "person": "ada"}'

_DELIVERY = ("attempted", "bounced", "clicked", "converted", "delivered", "drafted", "failed", "sent", "undeliverable")
METRICS: dict[str, tuple[str, ...]] = {
    "customer": ("subscribed", "unsubscribed", "cio_subscription_preferences_changed"),
    "email": (*_DELIVERY, "deferred", "dropped", "opened", "spammed", "unsubscribed"),
    "in_app": ("attempted", "clicked", "converted", "drafted", "failed", "opened", "sent"),
    "push": (*_DELIVERY, "dropped", "opened"),
    "slack": ("attempted", "clicked", "converted", "drafted", "failed", "sent"),
    "sms": (*_DELIVERY,),
    "webhook": ("attempted", "clicked", "converted", "drafted", "failed", "sent"),
}
"""What is reported of each kind of object."""


class BadWebhook(ValueError):
    """A webhook that cannot be sent; the message says what to type."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """
    One POST.

    Attributes:
        to: Where it goes.
        body: Its bytes.
        headers: With the timestamp and the signature.
    """

    to: str
    body: bytes
    headers: dict[str, str]


def sign(key: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a body."""
    return hmac.new(key.encode("utf-8", "surrogatepass"), b"v0:%d:%s" % (timestamp, body), hashlib.sha256).hexdigest()


def compose(given: Any, now: float, allowed: Collection[str] = ()) -> Webhook:
    """
    Read a wish for a webhook, and write it.

    Args:
        given: The JSON: ``to``, ``type`` such as ``email.bounced``, and if wanted ``person``, ``email``, ``data``,
            ``event_id``, ``timestamp`` and ``signing_key``.
        now: Unix seconds.
        allowed: Hosts beside those of this machine.

    Raises:
        BadWebhook: naming what is wrong.
    """
    if not isinstance(given, dict):
        raise BadWebhook(f"a webhook is an object. Type: {EXAMPLE}")
    texts = {name: _text(given, name) for name in ("to", "type", "person", "email", "event_id", "signing_key")}
    _check_target(texts["to"] or "", allowed)
    object_type, metric = _kind(texts["type"] or "")
    stamp = given.get("timestamp", int(now))
    if isinstance(stamp, bool) or not isinstance(stamp, int) or not 0 <= stamp < 10**11:
        raise BadWebhook(f"timestamp is {stamp!r:.80}. Type whole Unix seconds")
    more = given.get("data", {})
    if not isinstance(more, dict):
        raise BadWebhook(f"data is {more!r:.80}. Type an object")
    person = texts["person"]
    known = {"customer_id": person, "identifiers": {"id": person}} if person else {}
    recipient = {"recipient": texts["email"]} if texts["email"] else {}
    report = {
        "event_id": texts["event_id"] or _ulid(now),
        "object_type": object_type,
        "metric": metric,
        "timestamp": stamp,
        "data": {**known, **recipient, **more},
    }
    body = json.dumps(report, ensure_ascii=False).encode("utf-8", "backslashreplace")
    headers = {
        "Content-Type": "application/json",
        "X-CIO-Timestamp": str(stamp),
        "X-CIO-Signature": sign(texts["signing_key"] or SIGNING_KEY, stamp, body),
    }
    return Webhook(str(texts["to"]), body, headers)


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and (not isinstance(value, str) or not value or len(value) > 2000):
        raise BadWebhook(f"{name} is {value!r:.80}. Type a text, as in {EXAMPLE}")
    return value


def _kind(text: str) -> tuple[str, str]:
    object_type, _, metric = text.partition(".")
    if metric not in METRICS.get(object_type, ()):
        known = [f"{kind}.{metric}" for kind, metrics in METRICS.items() for metric in metrics]
        near = ", ".join(get_close_matches(text, known, 3, 0.3)) or "email.bounced"
        raise BadWebhook(f"type is {text!r:.80}. Type an object and a metric: {near}")
    return object_type, metric


def _check_target(url: str, allowed: Collection[str]) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise BadWebhook(f"to is {url!r:.80}. Type a URL, as in {EXAMPLE}") from error
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None or not url.isprintable():
        raise BadWebhook(f"to is {url!r:.80}. Type a URL, as in {EXAMPLE}")
    if not (_is_here(host) or host in allowed or f"{host}:{port}" in allowed):
        fix = "start the sandbox with --allow-webhook-host"
        raise BadWebhook(f"{host!r:.80} is not this machine. Type 127.0.0.1 or localhost, or {fix} {host:.80}")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ulid(now: float) -> str:
    alphabet, number = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", (int(now * 1000) << 80) | secrets.randbits(80)
    return "".join(alphabet[number >> shift & 31] for shift in range(125, -1, -5))


async def deliver(webhook: Webhook) -> dict[str, Any]:
    """Send a webhook, and return what was sent and what came back; an app that does not answer is a sentence."""
    import httpx  # slow to load, and most sandboxes send none

    sent = {"to": webhook.to, "headers": webhook.headers, "body": webhook.body.decode()}
    began = time.perf_counter()
    status, reply, error = None, "", None
    try:
        async with (
            asyncio.timeout(SECONDS),
            # No proxy of the environment, for this is this machine; and a redirect could lead anywhere.
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=SECONDS) as client,
            client.stream("POST", webhook.to, content=webhook.body, headers=webhook.headers) as response,
        ):
            status = response.status_code
            reply = await _beginning(response)
    except TimeoutError:
        error = f"no answer within {SECONDS:g} s, which is when Customer.io gives up and tries again later"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
        error = f"nothing answers there ({type(failure).__name__}). Is the app running?"
    if status is not None and not 200 <= status < 300:
        error = f"answered {status}: Customer.io would try again later. A 401 is how an app refuses a signature."
    took = round((time.perf_counter() - began) * 1000, 3)
    return {"sent": sent, "status": status, "reply": reply, "error": error, "took_ms": took}


async def _beginning(response: Any) -> str:
    body = bytearray()
    async for chunk in response.aiter_raw():  # as it travels: nothing is inflated here
        body += chunk
        if len(body) > REPLY_BYTES:
            break
    return bytes(body[:REPLY_BYTES]).decode("utf-8", "replace")
