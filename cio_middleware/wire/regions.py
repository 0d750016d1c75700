"""
Where Customer.io lives, and which redirects lead to another of its own doors.
"""

from __future__ import annotations

from urllib.parse import urlsplit

TRACK_HOSTS = {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"}
"""Track v1 and v2 (TRACK-SPEC, servers)."""


def base_url(region: str, override: str | None = None) -> str:
    """Where to send, without a slash at the end."""
    return (override or TRACK_HOSTS[region]).rstrip("/")


def region_of(url: str) -> str | None:
    """The region whose Track host this is."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}".lower()
    return next((region for region, host in TRACK_HOSTS.items() if origin in {host, f"{host}:443"}), None)


def moved_to(current: str, location: str) -> str | None:
    """
    The base URL to send to instead, if `location` is the other Track host; None for any other target.

    A workspace of the other region is "redirected accordingly" (TRACK-SPEC). A redirect to anywhere else would carry
    the credentials and the people away, so it is never followed.
    """
    try:
        target = region_of(location)
    except ValueError:
        return None
    if target is None or region_of(current) in {None, target}:
        return None
    return TRACK_HOSTS[target]
