"""A request as facts: what is sent of it, what never is, and that nothing a stranger sends makes it raise or stall."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cio_middleware import _extract
from cio_middleware._extract import CAPTURE, KNOWN, anonymous_id, asgi_context, asgi_header, check_capture, wsgi_context
from cio_middleware.exceptions import ConfigurationError

CANARY = "c4n4ry"
HOST = {"host": "shop.test"}


def asgi(path="/", query=b"", headers=None, **scope):
    """Return an HTTP scope as a server makes it."""
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in {**HOST, **(headers or {})}.items()]
    return {
        "type": "http", "scheme": "https", "path": path, "root_path": "", "query_string": query, "headers": pairs,
        "client": ("203.0.113.9", 1234), **scope,
    }  # fmt: skip


def wsgi(path="/", query="", headers=None, **environ):
    """Return an environ as a server makes it: bytes come as latin-1 text (PEP 3333)."""
    sent = {**HOST, **(headers or {})}
    given = {"HTTP_" + name.upper().replace("-", "_"): text for name, text in sent.items()}
    return {
        "wsgi.url_scheme": "https", "SCRIPT_NAME": "", "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query, "REMOTE_ADDR": "203.0.113.9", "SERVER_NAME": "server.test", **given, **environ,
    }  # fmt: skip


def both(path="/", query="", headers=None, capture=CAPTURE, query_keys=()):
    """Read the same request both ways; return the context that both agree on."""
    by_asgi = asgi_context(asgi(path, query.encode("latin-1"), headers), capture, query_keys)
    by_wsgi = wsgi_context(wsgi(path, query, headers), capture, query_keys)
    assert by_asgi == by_wsgi
    return by_asgi


def test_what_is_sent_by_default():
    """Page, campaign, locale and browser, in the shape of Customer.io's own SDKs; the library names itself."""
    context = both(
        "/offers/7",
        "utm_source=mail&utm_medium=email&utm_campaign=spring&utm_term=tea&utm_content=b",
        {
            "referer": "https://search.test/find?q=tea#top",
            "accept-language": "de-CH,de;q=0.9,en;q=0.8",
            "user-agent": "Mozilla/5.0",
        },
    )
    library = context.pop("library")
    assert library["name"] == "cio_middleware"
    assert context == {
        "page": {"path": "/offers/7", "url": "https://shop.test/offers/7", "referrer": "https://search.test/find"},
        "campaign": {"name": "spring", "source": "mail", "medium": "email", "term": "tea", "content": "b"},
        "locale": "de-CH",
        "userAgent": "Mozilla/5.0",
    }


def test_a_bare_request_says_little():
    """What a request does not bring is left out, not sent empty."""
    assert set(both()) == {"page", "library"}
    assert set(both(capture=())) == {"library"}


SECRETS = {
    "cookie": {"headers": {"cookie": f"session={CANARY}; _cioanonid={CANARY}"}},
    "authorization": {"headers": {"authorization": f"Bearer {CANARY}"}},
    "proxy-authorization": {"headers": {"proxy-authorization": CANARY}},
    "forwarded-for": {"headers": {"x-forwarded-for": CANARY, "forwarded": f"for={CANARY}"}},
    "other-header": {"headers": {"x-user-email": CANARY}},
    "query": {"query": f"email={CANARY}&token={CANARY}&{CANARY}"},
    "query-near-miss": {"query": f"utm_sourcex={CANARY}&xutm_source={CANARY}&UTM_SOURCE={CANARY}"},
    "query-fragment": {"query": f"q#{CANARY}"},
    "referrer-query": {"headers": {"referer": f"https://x.test/p?email={CANARY}"}},
    "referrer-fragment": {"headers": {"referer": f"https://x.test/p#{CANARY}"}},
    "referrer-user": {"headers": {"referer": f"https://{CANARY}:{CANARY}@x.test/p"}},
    "referrer-user-twice": {"headers": {"referer": f"https://{CANARY}@{CANARY}@x.test/p"}},
    "referrer-user-slash": {"headers": {"referer": f"//{CANARY}@x.test/p"}},
    "referrer-no-url": {"headers": {"referer": CANARY}},
    "referrer-mail": {"headers": {"referer": f"mailto:{CANARY}@x.test"}},
    "referrer-junk": {"headers": {"referer": f"https://[{CANARY}"}},
    "host-user": {"headers": {"host": f"{CANARY}@shop.test"}},
    "host-query": {"headers": {"host": f"shop.test/?{CANARY}"}},
}


@pytest.mark.parametrize("request_", SECRETS.values(), ids=SECRETS)
def test_nothing_that_identifies_is_sent_by_default(request_):
    """No cookie, no credentials, no query, no address of a proxy's client, and of a referrer only where it is."""
    assert CANARY not in json.dumps(both(**request_))


def test_the_body_is_never_read():
    """The body of a request may hold anything; nothing here asks for it."""

    class Body:
        def read(self, *_: object) -> bytes:
            pytest.fail("read")

        __iter__ = readline = readlines = read

    wsgi_context(wsgi(**{"wsgi.input": Body()}), KNOWN, ("q",))


def test_an_address_is_sent_only_when_it_is_named():
    """The peer's address is personal data in many countries; a header cannot replace it."""
    assert "ip" not in both()
    headers = {"x-forwarded-for": "198.51.100.1"}
    assert both(headers=headers, capture=("ip",))["ip"] == "203.0.113.9"
    assert "ip" not in asgi_context(asgi(client=None), ("ip",), ())


def test_of_the_query_only_allowed_keys_are_sent():
    """Keys are compared whole; values are sent as they were."""
    query = f"q=gr%C3%BCner+tee&page=2&token={CANARY}&Q=no&q=again"
    page = both(query=query, query_keys=("q", "page"))["page"]
    assert page["search"] == "?q=gr%C3%BCner+tee&page=2&q=again"
    assert "search" not in both(query=query)["page"]
    assert "search" not in both(query=f"token={CANARY}", query_keys=("q",))["page"]


PATHS = {
    "umlaut": ("/grüner tee", "/grüner tee", "/gr%C3%BCner%20tee"),
    "percent": ("/100%", "/100%", "/100%25"),
    "encoded-twice": ("/a%2Fb", "/a%2Fb", "/a%252Fb"),
    "question-mark": ("/what?", "/what?", "/what%3F"),
    "fragment": ("/c#", "/c#", "/c%23"),
    "reserved": ("/a:b@c;d=e,f", "/a:b@c;d=e,f", "/a:b@c;d=e,f"),
    "controls": ("/a\r\nb\x1b[31m", "/ab[31m", "/a%0D%0Ab%1B%5B31m"),
    "turned-around": ("/a\u202eb", "/ab", "/a%E2%80%AEb"),
}


@pytest.mark.parametrize(("path", "sent", "url"), PATHS.values(), ids=PATHS)
def test_a_path_is_sent_as_it_reads_and_as_a_url(path, sent, url):
    """The path is what a server decoded; the URL is what leads there again."""
    page = both(path)["page"]
    assert page["path"] == sent
    assert page["url"] == "https://shop.test" + url


MOUNTS = {
    "in-the-path": ("/shop", "/shop/offers", "/shop/offers"),
    "itself": ("/shop", "/shop", "/shop"),
    "left-out": ("/shop", "/offers", "/shop/offers"),
    "only-looks-like-it": ("/shop", "/shopping", "/shop/shopping"),
    "slash": ("/shop/", "/shop/offers", "/shop/offers"),
    "none": ("", "/offers", "/offers"),
    "empty-path": ("/shop", "", "/shop/"),
}


@pytest.mark.parametrize(("mount", "path", "sent"), MOUNTS.values(), ids=MOUNTS)
def test_a_mounted_application_sends_the_whole_path(mount, path, sent):
    """ASGI's path includes the mount, though not every server's does; WSGI's never does."""
    assert asgi_context(asgi(path, root_path=mount), CAPTURE, ())["page"]["path"] == sent


def test_wsgi_joins_the_mount_and_the_path():
    """SCRIPT_NAME is where the application is mounted, PATH_INFO what is below."""
    page = wsgi_context(wsgi("/grün", SCRIPT_NAME="/shop"), CAPTURE, ())["page"]
    assert page == {"path": "/shop/grün", "url": "https://shop.test/shop/gr%C3%BCn"}


HOSTS = {
    "port": ("shop.test:8443", "https://shop.test:8443/"),
    "v6": ("[::1]:8000", "https://[::1]:8000/"),
    "space": ("a b", "/"),
    "slash": ("a/b", "/"),
    "newline": ("a\nb", "/"),
    "endless": ("a" * 5000, "/"),
}


@pytest.mark.parametrize(("host", "url"), HOSTS.values(), ids=HOSTS)
def test_what_is_no_host_is_left_out_of_the_url(host, url):
    """The Host header is the client's to choose."""
    assert both(headers={"host": host})["page"]["url"] == url


def test_a_request_without_a_host_names_its_server():
    """HTTP/1.0 has no Host header; WSGI knows the server's name all the same."""
    assert wsgi_context(wsgi(headers={"host": ""}), CAPTURE, ())["page"]["url"] == "https://server.test/"
    assert asgi_context(asgi(headers={"host": ""}), CAPTURE, ())["page"]["url"] == "/"


LOCALES = {
    "first": ("fr-CA, fr;q=0.9", "fr-CA"),
    "quality": ("en;q=0.5", "en"),
    "script": (" zh-Hant-TW ", "zh-Hant-TW"),
    "any": ("*", None),
    "empty": ("", None),
    "junk": ("<script>", None),
    "underscore": ("de_DE", None),
    "endless": ("en" + "-a" * 10_000, None),
    "endless-word": ("e" * 10_000, None),
}


@pytest.mark.parametrize(("accepted", "locale"), LOCALES.values(), ids=LOCALES)
def test_the_locale_is_the_first_language_that_the_browser_asks_for(accepted, locale):
    """It has the shape of a language tag, or there is none."""
    assert both(headers={"accept-language": accepted}).get("locale") == locale


CAMPAIGNS = {
    "one": ("utm_source=mail", {"source": "mail"}),
    "name": ("utm_campaign=spring", {"name": "spring"}),
    "encoded": ("utm_source=gr%C3%BCn+tee", {"source": "grün tee"}),
    "controls": ("utm_source=a%0Ab%1B%00", {"source": "ab"}),
    "nothing-left": ("utm_source=%00", None),
    "blank": ("utm_source=", None),
    "twice": ("utm_source=a&utm_source=b", {"source": "b"}),
    "no-utf-8": ("utm_source=%FF", {"source": "�"}),
    "endless": ("utm_source=" + "a" * 5000, {"source": "a" * 1000}),
    "too-many-fields": ("&".join(["x=1"] * 100 + ["utm_source=a"]), None),
    "many-fields": ("utm_source=a" + "&x=1" * 200, {"source": "a"}),
}


@pytest.mark.parametrize(("query", "campaign"), CAMPAIGNS.values(), ids=CAMPAIGNS)
def test_the_campaign_is_what_the_link_says(query, campaign):
    """utm_* become Customer.io's names, cleaned and capped."""
    assert both(query=query).get("campaign") == campaign


def test_no_text_is_longer_than_1000_characters():
    """A request of 64 KiB of headers is no event of 64 KiB."""
    long = "a" * 20_000
    headers = {"user-agent": long, "referer": f"https://x.test/{long}", "accept-language": long}
    context = both(f"/{long}", f"utm_term={long}&q={long}", headers, KNOWN, ("q",))
    texts = [text for value in context.values() for text in (value.values() if isinstance(value, dict) else [value])]
    assert max(map(len, texts)) == 1000
    assert len(_extract.encode(context)) < 8000


COOKIES = {
    "alone": ("_cioanonid=abc-1.2_3~", "abc-1.2_3~"),
    "among-others": ("a=1; _cioanonid=abc; b=2", "abc"),
    "quoted": ('_cioanonid="abc"', "abc"),
    "no-space": ("a=1;_cioanonid=abc;b=2", "abc"),
    "after-an-odd-one": ('prefs={"a": [1, 2]}; x; =y; _cioanonid=abc', "abc"),
    "longest": ("_cioanonid=" + "a" * 150, "a" * 150),
    "too-long": ("_cioanonid=" + "a" * 151, None),
    "empty": ("_cioanonid=", None),
    "newline": ("_cioanonid=a\nb", None),
    "markup": ("_cioanonid=<b>", None),
    "mail": ("_cioanonid=ada@example.com", None),
    "umlaut": ("_cioanonid=\xe4", None),
    "longer-name": ("x_cioanonid=abc; _cioanonidx=abc", None),
    "in-a-value": ("a=_cioanonid; b=x_cioanonid=abc", None),
    "absent": ("a=1", None),
    "none": ("", None),
    "first-of-two": ("_cioanonid=abc; _cioanonid=def", "abc"),
    "second-is-valid": ("_cioanonid=<b>; _cioanonid=def", "def"),
}


@pytest.mark.parametrize(("cookies", "expected"), COOKIES.values(), ids=COOKIES)
def test_the_browser_s_id_is_taken_if_it_looks_like_one(cookies, expected):
    """The cookie is the client's to choose: only a short plain word is taken, and other cookies do not hide it."""
    assert anonymous_id(cookies, "_cioanonid") == expected


def test_cookies_of_http2_may_come_in_several_headers():
    """RFC 9113 lets a browser split them, and not every server joins them again."""
    pairs = [(b"cookie", b"a=1"), (b"Cookie", b"_cioanonid=abc"), (b"host", b"x"), (b"host", b"y")]
    header = asgi_header({"headers": pairs})
    assert anonymous_id(header("cookie"), "_cioanonid") == "abc"
    assert header("host") == "x"
    assert header("absent") == ""


STALLS = {
    "cookie-backslashes": lambda: anonymous_id('_cioanonid="' + "\\" * 60_000 + '"', "_cioanonid"),
    "cookie-many": lambda: anonymous_id("a;" * 30_000 + "_cioanonid", "_cioanonid"),
    "cookie-spaces": lambda: anonymous_id("_cioanonid=" + " " * 60_000 + "x y", "_cioanonid"),
    "language": lambda: both(headers={"accept-language": "a-" * 30_000 + "!"}),
    "language-commas": lambda: both(headers={"accept-language": "," * 60_000}),
    "referrer": lambda: both(headers={"referer": "https://" + "@" * 60_000 + "/" * 1000}),
    "host": lambda: both(headers={"host": "a:" * 30_000 + "!"}),
    "query": lambda: both(query="%" * 30_000 + "&" * 30_000, query_keys=("q",)),
    "path": lambda: both("/" + "%é" * 20_000),
    "agent": lambda: both(headers={"user-agent": "\x1b" * 60_000}),
}


@pytest.mark.parametrize("read", STALLS.values(), ids=STALLS)
def test_no_request_takes_long_to_read(read):
    """64 KiB of whatever a stranger sends are read in linear time; http.cookies takes ten seconds for the first."""
    start = time.process_time()
    read()
    assert time.process_time() - start < 0.5


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=9),
    st.text(max_size=9), st.lists(st.integers(), max_size=2),
)  # fmt: skip
# st.text would leave the lone surrogates out.
TEXT = st.lists(st.characters() | st.sampled_from("\ud800\udc00\x00\u2028%/"), max_size=20).map(
    "".join
) | st.sampled_from(["//[", "https://[::1", "%", "@"])
BYTES = st.binary(max_size=20)
NAMES = st.sampled_from([b"host", b"referer", b"cookie", b"accept-language", b"user-agent"])
SCOPES = st.fixed_dictionaries(
    {},
    optional={
        "path": TEXT | ANY,
        "root_path": TEXT | ANY,
        "scheme": TEXT | ANY,
        "query_string": BYTES | ANY,
        "headers": st.lists(st.tuples(NAMES, BYTES), max_size=4) | st.lists(st.tuples(ANY, ANY), max_size=2) | ANY,
        "client": st.tuples(TEXT, st.integers()) | st.lists(ANY, max_size=2) | ANY,
    },
)
VARIABLES = (
    "PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "wsgi.url_scheme", "SERVER_NAME", "REMOTE_ADDR", "HTTP_HOST",
    "HTTP_REFERER", "HTTP_ACCEPT_LANGUAGE", "HTTP_USER_AGENT", "HTTP_COOKIE",
)  # fmt: skip
ENVIRONS = st.dictionaries(st.sampled_from(VARIABLES), TEXT | ANY)


@given(SCOPES)
def test_no_scope_makes_it_raise(scope):
    """Whatever a server, a proxy or a test client puts into a scope, the request goes on, and its context is JSON."""
    context = asgi_context(scope, KNOWN, ("q", "utm_source"))
    assert json.loads(_extract.encode(context)) == context
    anonymous_id(asgi_header(scope)("cookie"), "_cioanonid")


@given(ENVIRONS)
def test_no_environ_makes_it_raise(environ):
    """The same for WSGI."""
    context = wsgi_context(environ, KNOWN, ("q", "utm_source"))
    assert json.loads(_extract.encode(context)) == context
    anonymous_id(_extract.wsgi_header(environ)("cookie"), "_cioanonid")


@given(TEXT, st.text(min_size=1))
def test_no_cookie_makes_it_raise(cookies, name):
    """Whatever the header holds, and however the cookie is called."""
    found = anonymous_id(f"{cookies};{name}=abc", name)
    assert found is None or found.isascii()


@given(st.lists(st.characters() | st.sampled_from("\ud800\udc00\x00\x1b\u2028\u202e\u2066")).map("".join))
def test_a_text_from_outside_is_one_line(text):
    """Nothing in it can break a line of a log, or turn what follows."""
    cleaned = _extract.text(text)
    assert len(cleaned.splitlines()) <= 1
    assert len(cleaned) <= 1000
    assert not {"\x1b", "\x00", "\u202e", "\u2066"}.intersection(cleaned)
    cleaned.encode()


def test_what_to_send_is_checked_by_name():
    """A name that is not known is named, with those that are."""
    assert check_capture(["page", "ip"]) == ("page", "ip")
    assert check_capture("page") == ("page",)
    assert check_capture(()) == ()
    with pytest.raises(ConfigurationError, match=r"capture names 'pages', 'x': type some of page, campaign, locale"):
        check_capture(["pages", "page", "x"])
