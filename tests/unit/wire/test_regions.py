"""Where Customer.io lives, and which redirects lead to another of its own doors."""

from __future__ import annotations

import pytest

from cio_middleware.wire.regions import base_url, moved_to, region_of

US, EU = "https://track.customer.io", "https://track-eu.customer.io"


@pytest.mark.parametrize(
    ("region", "override", "expected"),
    [
        ("us", None, US),
        ("eu", None, EU),
        ("eu", "http://127.0.0.1:8246/", "http://127.0.0.1:8246"),
        ("us", "https://proxy.test/cio//", "https://proxy.test/cio"),
    ],
)
def test_where_to_send(region, override, expected):
    """The region's host, or what replaces it, without a slash at the end."""
    assert base_url(region, override) == expected


REGIONS = {
    "us": (US, "us"),
    "eu": (EU + "/api/v2/batch", "eu"),
    "port": (EU + ":443/x", "eu"),
    "capitals": ("HTTPS://Track-EU.Customer.IO/", "eu"),
    "loopback": ("http://127.0.0.1:8246", None),
    "proxy": ("https://proxy.test", None),
    "nothing": ("", None),
}


@pytest.mark.parametrize(("url", "region"), REGIONS.values(), ids=REGIONS)
def test_whose_host_it_is(url, region):
    """A Track host is known by scheme, host and port."""
    assert region_of(url) == region


def test_the_other_host_is_followed_both_ways():
    """A workspace of the other region is sent to its own door; the path of the redirect does not matter."""
    assert moved_to(US, EU + "/api/v2/batch?x") == EU
    assert moved_to(EU, US) == US


ELSEWHERE = {
    "evil": "https://evil.test/api/v2/batch",
    "look-alike-suffix": "https://track-eu.customer.io.evil.test/",
    "look-alike-prefix": "https://eviltrack-eu.customer.io/",
    "look-alike-hyphen": "https://track-eu-customer.io/",
    "other-host-of-theirs": "https://api-eu.customer.io/",
    "trailing-dot": "https://track-eu.customer.io./",
    "user": "https://track-eu.customer.io@evil.test/",
    "user-of-theirs": "https://evil@track-eu.customer.io/",
    "user-empty": "https://@track-eu.customer.io/",
    "password": "https://track-eu.customer.io:443@evil.test/",
    "backslash": "https://track-eu.customer.io\\@evil.test/",
    "backslash-path": "https://evil.test\\track-eu.customer.io/",
    "downgrade": "http://track-eu.customer.io/",
    "downgrade-port": "http://track-eu.customer.io:443/",
    "port": "https://track-eu.customer.io:8443/",
    "port-empty": "https://track-eu.customer.io:/",
    "port-junk": "https://track-eu.customer.io:port/",
    "scheme": "ftp://track-eu.customer.io/",
    "scheme-relative": "//track-eu.customer.io/",
    "relative": "/api/v2/batch",
    "same": "https://track.customer.io/api/v2/batch",
    "empty": "",
    "v6": "https://[::1]/",
    "v6-junk": "https://[track-eu.customer.io/",
    "v6-zone": "https://[fe80::1%25track-eu.customer.io]/",
    "full-width": "https://track-eu\uff0ecustomer.io/",
    "fraction-slash": "https://track-eu.customer.io\u2044@evil.test/",
    "care-of": "https://track-eu.customer.io\u2100.evil.test/",
    "nul": "https://track-eu.customer.io\x00.evil.test/",
    "space": "https://track-eu.customer.io evil.test/",
    "script": "javascript:alert(1)",
    "two": "https://evil.test/, https://track-eu.customer.io/",
}


@pytest.mark.parametrize("location", ELSEWHERE.values(), ids=ELSEWHERE)
def test_no_other_target_is_ever_followed(location):
    """It would carry the credentials and the people away."""
    assert moved_to(US, location) is None


def test_what_leads_on_is_our_own_constant():
    """Whatever white space a parser takes out of a location, what is sent to is the vendor's host as we know it."""
    assert moved_to(US, " https://track-eu.\ncustomer.io/\t") in {EU, None}


@pytest.mark.parametrize("current", ["http://127.0.0.1:8246", "https://proxy.test", "https://track.customer.io.test"])
def test_who_does_not_send_to_customer_io_is_not_moved_there(current):
    """A proxy or a sandbox that redirects is misconfigured: its traffic must not leave for the real thing."""
    assert moved_to(current, EU) is None
