"""Settings: where each value comes from, what is wrong with it, and that no way of looking at them shows the key."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import pickle
import pprint
import traceback
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest

import cio_middleware as cio
from cio_middleware import Client, Event, Settings
from cio_middleware._secret import Secret
from cio_middleware.exceptions import ConfigurationError

CANARY = "k3y-c4n4ry"
GOOD: dict[str, Any] = {"site_id": "site", "api_key": "key"}


def problems(**settings: Any) -> str:
    """What is wrong with these settings; empty when nothing is."""
    try:
        Settings(**{**GOOD, **settings}).check()
    except ConfigurationError as error:
        return str(error)
    return ""


# ------------------------------------------------------------------------------------------------ where a value is from

READS = {
    "text": ("SITE_ID", "abc", "site_id", "abc"),
    "choice": ("REGION", "eu", "region", "eu"),
    "true": ("DEBUG", "true", "debug", True),
    "one": ("DEBUG", "1", "debug", True),
    "capitals": ("ENABLED", " FALSE ", "enabled", False),
    "off": ("ENABLED", "off", "enabled", False),
    "whole": ("FLUSH_AT", " 7 ", "flush_at", 7),
    "whole-grouped": ("MAX_QUEUE_BYTES", "1_000_000", "max_queue_bytes", 1_000_000),
    "number": ("TIMEOUT", "2.5", "timeout", 2.5),
    "number-whole": ("TIMEOUT", "3", "timeout", 3.0),
    "none": ("MAX_AGE", "None", "max_age", None),
    "number-or-none": ("MAX_AGE", "60", "max_age", 60.0),
    "empty-is-unset": ("FLUSH_AT", "", "flush_at", 100),
    "plug-in": ("BACKEND", "mine.backend:make", "backend", "mine.backend:make"),
}


@pytest.mark.parametrize(("variable", "text", "name", "value"), READS.values(), ids=READS)
def test_a_variable_is_read_as_its_type(variable, text, name, value):
    """Each type of setting has its spelling in the environment."""
    found = getattr(Settings.from_env({f"CUSTOMERIO_{variable}": text}), name)
    assert found == value
    assert type(found) is type(value)


def test_every_setting_has_a_variable():
    """There is no setting that the environment cannot give."""
    for field in dataclasses.fields(Settings):
        text = "7" if field.type in {"int", "float", "float | None"} else "true"
        settings = Settings.from_env({f"CUSTOMERIO_{field.name.upper()}": text})
        assert getattr(settings, field.name) is not None


def test_an_argument_wins_over_the_environment_which_wins_over_the_default(monkeypatch):
    """Argument > environment > default; os.environ is asked only when from_env is called."""
    monkeypatch.setenv("CUSTOMERIO_FLUSH_AT", "7")
    monkeypatch.setenv("CUSTOMERIO_RETRIES", "1")
    settings = Settings.from_env(retries=2)
    assert (settings.flush_at, settings.retries, settings.timeout) == (7, 2, 10.0)
    assert Settings().flush_at == 100


UNREADABLE = {
    "bool": ("DEBUG", "maybe", "type true or false"),
    "whole": ("FLUSH_AT", "1.5", "type a whole number"),
    "whole-word": ("RETRIES", "many", "type a whole number"),
    "whole-endless": ("RETRIES", "9" * 5000, "type a whole number"),
    "number": ("TIMEOUT", "10s", "type a number"),
    "number-or-none": ("MAX_AGE", "never", "type a number"),
}


@pytest.mark.parametrize(("variable", "text", "advice"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_variable_that_does_not_read_as_its_type_names_what_to_type(variable, text, advice):
    """The error holds the variable, its value and the advice."""
    with pytest.raises(ConfigurationError, match=f"CUSTOMERIO_{variable} is '{text}': {advice}"):
        Settings.from_env({f"CUSTOMERIO_{variable}": text})


def test_all_unreadable_variables_are_named_at_once():
    """Nobody restarts once per mistake."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({"CUSTOMERIO_DEBUG": "maybe", "CUSTOMERIO_RETRIES": "many"})
    assert len(str(caught.value).splitlines()) == 2


def test_a_variable_that_reads_but_is_wrong_is_named_with_those_that_do_not_read():
    """Nobody corrects one kind of mistake to be told of the next kind: the second line is not kept for a restart."""
    environ = {"CUSTOMERIO_MAX_AGE": "1h", "CUSTOMERIO_REGION": "mars", "CUSTOMERIO_BASE_URL": "nonsense"}
    error = raised(lambda: Settings.from_env(environ, flush_at=0))
    assert [line.split()[0] for line in str(error).splitlines()] == [
        "CUSTOMERIO_MAX_AGE", "region", "flush_at", "base_url"
    ]  # fmt: skip


def test_a_misspelt_setting_leads_to_no_second_complaint():
    """What only looks wrong since another name or word was misspelt is not told beside it."""
    error = raised(lambda: Settings.from_env({}, queues="spool", spool_dir="/var/lib/shop/events"))
    assert str(error) == "queues is not a setting. Did you mean queue?"
    found = problems(queue="Spool", spool_dir="/var/lib/shop/events")
    assert found == "queue is 'Spool': type one of memory, spool. Did you mean 'spool'?"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("CUSTOMERIO_REGOIN", "CUSTOMERIO_REGION"),
        ("CUSTOMERIO_APIKEY", "CUSTOMERIO_API_KEY"),
        ("CUSTOMERIO_SITEID", "CUSTOMERIO_SITE_ID"),
    ],
)
def test_an_unknown_variable_warns_with_the_nearest_known_one(variable, meant):
    """A misspelt variable is ignored, but not silently; its value is not shown."""
    with pytest.warns(UserWarning, match=f"{variable} is not a setting .* Did you mean {meant}") as caught:
        Settings.from_env({variable: CANARY})
    assert CANARY not in str(caught[0].message)


@pytest.mark.parametrize(
    "enter",
    [Settings.from_env, Client.from_env, cio.configure, cio.get_client],
    ids=["settings", "client", "configure", "get"],
)
def test_the_warning_is_about_the_line_of_the_application(enter, monkeypatch):
    """Python prints the line that a warning is about: one of ours would tell the reader nothing."""
    for name in ("SITE_ID", "API_KEY", "FLUSHAT"):
        monkeypatch.setenv(f"CUSTOMERIO_{name}", "dev")
    with pytest.warns(UserWarning, match="CUSTOMERIO_FLUSHAT is not a setting") as caught:
        enter()
    assert caught[0].filename == __file__


def test_other_variables_are_no_concern_of_ours():
    """What does not begin with CUSTOMERIO_ is not looked at, and what resembles nothing gets no guess."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings.from_env({"PATH": "x", "CUSTOMER_IO_REGION": "x", "customerio_region": "x"})
    with pytest.warns(UserWarning, match=r"CUSTOMERIO_ZZZZZZZZZZ is not .* ignored\.$"):
        Settings.from_env({"CUSTOMERIO_ZZZZZZZZZZ": "x"})


# -------------------------------------------------------------------------------------------------------- what is wrong

SPOOL: dict[str, Any] = {"queue": "spool", "spool_dir": "/var/lib/shop/events"}
WRONG = {
    "region": ({"region": "ue"}, "region is 'ue': type one of us, eu."),
    "region-near": ({"region": "EU"}, "Did you mean 'eu'?"),
    "region-long": ({"region": "euu"}, "Did you mean 'eu'?"),
    "queue": ({"queue": "memry"}, "queue is 'memry': type one of memory, spool. Did you mean 'memory'?"),
    "spool": ({"queue": "spool"}, "needs spool_dir (CUSTOMERIO_SPOOL_DIR): type a directory on a local disk"),
    "spool-empty": ({"queue": "spool", "spool_dir": ""}, 'queue="spool" needs spool_dir'),
    "spool-number": ({"queue": "spool", "spool_dir": 5}, "spool_dir is a int: type a directory"),
    "spool-bytes": ({"queue": "spool", "spool_dir": b"/x"}, "spool_dir is a bytes: type a directory"),
    "spool-relative": ({"queue": "spool", "spool_dir": "events"}, "spool_dir is 'events', which is no absolute path"),
    "spool-home": ({"queue": "spool", "spool_dir": "~/events"}, "which is no absolute path"),
    "spool-nul": ({"queue": "spool", "spool_dir": "/a\0b"}, "which is no absolute path"),
    "spool-dir-alone": (
        {"spool_dir": "/x"},
        'queue is not spool: type queue="spool" (CUSTOMERIO_QUEUE=spool), or leave',
    ),
    "spool-evicts": ({**SPOOL, "overflow": "drop_oldest"}, "overflow cannot be drop_oldest: type drop_newest"),
    "spool-blocks": ({**SPOOL, "overflow": "block"}, "overflow cannot be block: type drop_newest"),
    "spool-small": (
        {**SPOOL, "spool_max_bytes": 10},
        "spool_max_bytes is 10: type a whole number of at least 1000000.",
    ),
    "spool-free": (
        {**SPOOL, "spool_min_free_bytes": -1},
        "spool_min_free_bytes is -1: type a whole number of at least",
    ),
    "spool-fsync": ({**SPOOL, "fsync": "offf"}, "type one of interval, always, off. Did you mean 'off'?"),
    "spool-error": ({**SPOOL, "on_spool_error": "drop"}, "type one of memory, reject"),
    "overflow": ({"overflow": "drop_old"}, "Did you mean 'drop_oldest'?"),
    "on-error": ({"on_error": "ignore"}, "type one of log, raise"),
    "anonymous-via": ({"anonymous_via": "v3"}, "type one of v1, v2"),
    "choice-type": ({"region": None}, "region is None: type one of us, eu"),
    "bool-as-text": ({"enabled": "no"}, "enabled is 'no': type True or False"),
    "bool-as-number": ({"stamps": 0}, "stamps is 0: type True or False"),
    "site-id-type": ({"site_id": 5}, "site_id is a int: type it as text"),
    "base-url-type": ({"base_url": b"https://x"}, "base_url is a bytes: type it as text"),
    "whole": ({"flush_at": 1.5}, "flush_at is 1.5: type a whole number of at least 1"),
    "zero": ({"flush_at": 0}, "type a whole number of at least 1"),
    "negative": ({"retries": -1}, "type a whole number of at least 0"),
    "text": ({"retries": "3"}, "retries is '3': type a whole number"),
    "bool-for-number": ({"retries": True}, "retries is True: type a whole number"),
    "none": ({"timeout": None}, "timeout is None: type a number"),
    "nan": ({"timeout": float("nan")}, "timeout is nan: type a number"),
    "endless": ({"timeout": float("inf")}, "timeout is inf: type a number of at most"),
    "endless-age": ({"max_age": float("inf")}, "Type None to never give up"),
    "no-rate": ({"rate_limit": 0.0}, "rate_limit is 0.0: type a number of at least 0.001"),
    "batch-too-large": ({"max_batch_bytes": 500_001}, "Customer.io takes at most 500,000"),
    "event-too-large": ({"max_event_bytes": 100_001}, "Customer.io takes at most 100,000"),
    "none-in-flight": ({"max_in_flight": 0}, "max_in_flight is 0: type a whole number of at least 1."),
    "too-many-in-flight": ({"max_in_flight": 33}, "max_in_flight is 33: type a whole number of at most 32."),
    "half-in-flight": ({"max_in_flight": 1.5}, "max_in_flight is 1.5: type a whole number"),
    "batch-too-small": ({"max_batch_bytes": 999}, "at least 1000"),
    "app-key": ({"api_key": "sa_live_x"}, "a service-account token of the App API. Track needs the Track API key"),
    "pipelines-key": ({"api_key": "sk_eu_x"}, "a key of a Pipelines source. Track needs the Track API key"),
    "whole-header": ({"api_key": "Bearer abc"}, "a whole Authorization header"),
    "key-with-space": ({"api_key": "ab cd"}, "api_key holds a character that cannot be in one"),
    "key-with-dash": ({"api_key": "ab\N{EM DASH}cd"}, "api_key holds a character that cannot be in one"),
    "key-type": ({"api_key": b"x"}, "a secret is a bytes: pass it as text, as a pathlib.Path or as a callable"),
    "site-id-colon": ({"site_id": "a:b"}, "site_id holds a character that cannot be in one"),
    "site-id-newline": ({"site_id": "a\n"}, "site_id holds a character that cannot be in one"),
}


@pytest.mark.parametrize(("settings", "advice"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_named_with_what_to_type(settings, advice):
    """One line of advice for each mistake, and nothing about the settings that are fine."""
    found = problems(**settings)
    assert advice in found
    assert len([line for line in found.splitlines() if not line.startswith("  ")]) == 1


RIGHT = {
    "defaults": {},
    "bounds": {"flush_at": 1, "retries": 0, "retry_base": 0.0, "max_batch_bytes": 500_000, "max_event_bytes": 100_000},
    "whole-for-number": {"timeout": 3},
    "no-age": {"max_age": None},
    "key-with-newline": {"api_key": "key\n"},
    "null-needs-no-key": {"backend": "null", "site_id": None, "api_key": None},
    "disabled-needs-no-key": {"enabled": False, "site_id": None, "api_key": None},
}


@pytest.mark.parametrize("settings", RIGHT.values(), ids=RIGHT)
def test_what_is_right_passes(settings):
    """The bounds themselves are allowed, and credentials are asked for only where they are used."""
    assert problems(**settings) == ""


def test_all_problems_are_told_at_once():
    """Nobody restarts once per mistake."""
    assert len(problems(region="mars", retries=-1, base_url="nonsense").splitlines()) == 3


URLS = {
    "https": ("https://track.example.com", ""),
    "https-path": ("https://proxy.example.com/customerio/", ""),
    "loopback": ("http://127.0.0.1:8246", ""),
    "loopback-other": ("http://127.9.9.9", ""),
    "localhost": ("http://LOCALHOST:1/", ""),
    "loopback-v6": ("http://[::1]:8246", ""),
    "clear": ("http://track.customer.io", "in clear to another machine"),
    "clear-any": ("http://0.0.0.0:1", "in clear to another machine"),
    "looks-local": ("http://127.0.0.1.evil.com", "in clear to another machine"),
    "looks-local-name": ("http://localhost.evil.com", "in clear to another machine"),
    "v6": ("http://[2001:db8::1]", "in clear to another machine"),
    "no-scheme": ("track.customer.io", "type a whole URL"),
    "no-host": ("https:///x", "type a whole URL"),
    "ftp": ("ftp://x", "type a whole URL"),
    "empty": ("", "type a whole URL"),
    "newline": ("https://x\n", "type a whole URL"),
    "space": ("https://x /y", "type a whole URL"),
    "v6-junk": ("http://[::1", "no URL"),
    "port-junk": ("https://x:port", "no URL"),
    "port-range": ("https://x:70000", "no URL"),
    "user": ("https://user:c4n4ry@x", "leave out user name"),
    "user-empty": ("https://@x", "leave out user name"),
    "user-slash": ("https://user:p/c4n4ry@x", "no URL"),
    "user-without-scheme": ("user:c4n4ry@x", "type a whole URL"),
    "query": ("https://x/?key=c4n4ry", "leave out user name, query and fragment"),
    "query-empty": ("https://x?", "leave out user name, query and fragment"),
    "fragment": ("https://x/#c4n4ry", "leave out user name, query and fragment"),
}


@pytest.mark.parametrize(("url", "advice"), URLS.values(), ids=URLS)
def test_where_to_send_is_checked(url, advice):
    """Https anywhere, http on this machine; nothing in the URL that is not an address; no password in the message."""
    found = problems(base_url=url)
    assert advice in found if advice else found == ""
    assert "c4n4ry" not in found
    assert "c4n4ry" not in repr(Settings(base_url=url))


def test_http_to_another_machine_can_be_allowed():
    """On a private network that is the operator's to say."""
    assert problems(base_url="http://10.0.0.1", allow_insecure=True) == ""


@pytest.mark.parametrize(
    ("url", "here"),
    [(None, False), ("http://[::1]:1", True), ("http://localhost", True), ("https://x", False), ("http://[", False)],
)
def test_whether_events_stay_here_is_told_from_the_url(url, here):
    """Asking never raises, even before the settings were checked."""
    assert Settings(base_url=url).is_loopback is here


# ---------------------------------------------------------------------------------------------------------- credentials

WHERE = (
    "\n  For local work: cio-middleware sandbox."
    " For the real thing: Customer.io > Settings > API credentials > Track API."
)
MISSING = {
    "key": ({"api_key": None}, "CUSTOMERIO_API_KEY is missing (CUSTOMERIO_SITE_ID is set)."),
    "key-blank": ({"api_key": " \n"}, "CUSTOMERIO_API_KEY is missing (CUSTOMERIO_SITE_ID is set)."),
    "site": ({"site_id": None}, "CUSTOMERIO_SITE_ID is missing (CUSTOMERIO_API_KEY is set)."),
    "site-blank": ({"site_id": ""}, "CUSTOMERIO_SITE_ID is missing (CUSTOMERIO_API_KEY is set)."),
    "both": ({"site_id": None, "api_key": None}, "CUSTOMERIO_SITE_ID and CUSTOMERIO_API_KEY are missing."),
    "both-blank": ({"site_id": "", "api_key": ""}, "CUSTOMERIO_SITE_ID and CUSTOMERIO_API_KEY are missing."),
}


@pytest.mark.parametrize(("settings", "what"), MISSING.values(), ids=MISSING)
def test_missing_credentials_are_named_together_with_where_to_get_them(settings, what):
    """The first message that a new user meets says what is there, what is not, and both ways on."""
    assert problems(**settings) == f"Customer.io credentials not configured: {what}{WHERE}"


def test_a_key_in_a_file_is_read_at_each_use(tmp_path):
    """A rotated key is picked up without a restart; the newline that files end with is no part of it."""
    file = tmp_path / "key"
    file.write_text("first\n")
    settings = [Settings(**{**GOOD, "api_key": file}), Settings.from_env({"CUSTOMERIO_API_KEY_FILE": str(file)})]
    assert [each.secret.reveal() for each in settings] == ["first", "first"]

    file.write_text("second\n")

    assert [each.secret.reveal() for each in settings] == ["second", "second"]


def test_a_key_from_a_callable_is_asked_for_at_each_use():
    """The same for a secret manager."""
    keys = iter(["first", "second"])
    secret = Settings(api_key=lambda: next(keys)).secret
    assert [secret.reveal(), secret.reveal()] == ["first", "second"]


def test_a_key_given_as_text_wins_over_its_file(tmp_path):
    """CUSTOMERIO_API_KEY is the more explicit of the two."""
    environ = {"CUSTOMERIO_API_KEY": "text", "CUSTOMERIO_API_KEY_FILE": str(tmp_path / "none")}
    assert Settings.from_env(environ).secret.reveal() == "text"


def fails() -> str:
    """Fail as a secret manager's client might."""
    raise LookupError(CANARY)


SOURCES = {
    "file-missing": (lambda folder: folder / "none", "none' cannot be read: FileNotFoundError."),
    "file-empty": (lambda folder: written(folder, b" \n"), "key' is empty. It must hold the secret"),
    "file-binary": (lambda folder: written(folder, CANARY.encode() + b"\xff"), "cannot be read: UnicodeDecodeError."),
    "folder": (lambda folder: folder, "cannot be read: IsADirectoryError."),
    "callable-raises": (lambda _: fails, "the callable given for a secret cannot be read: LookupError."),
    "callable-none": (lambda _: lambda: None, "the callable given for a secret returned nothing."),
    "callable-blank": (lambda _: lambda: " ", "the callable given for a secret returned nothing."),
    "callable-bytes": (lambda _: CANARY.encode, "the callable given for a secret returned a bytes."),
    "callable-partial": (lambda _: functools.partial(dict, token=CANARY), "returned a dict."),
}


def written(folder, content):
    """Write a file and return its path."""
    file = folder / "key"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(("make", "what"), SOURCES.values(), ids=SOURCES)
def test_a_source_that_gives_no_key_is_named(make, what, tmp_path):
    """What is wrong with the file or the callable is said beside where to get a key, and what it gave is not shown."""
    source = make(tmp_path)
    error = raised(lambda: Settings(site_id="site", api_key=source).check())
    assert what in str(error)
    assert str(error).startswith("Customer.io credentials not configured: ")
    assert str(error).endswith(WHERE)
    assert CANARY not in shown(error)


# -------------------------------------------------------------------------------------------------------------- secrets


def raised(call: Any) -> ConfigurationError:
    """Return the ConfigurationError that a call raises, without the frames of this file, which do hold the key."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    frames = caught.tb
    while frames.tb_next is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return caught.value.with_traceback(frames)


def shown(error: BaseException | None) -> str:
    """Print all that a crash reporter would: the error, its causes, and the locals of each frame."""
    if error is None:
        return ""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    parts = [str(error), repr(error), repr(error.args), repr(vars(error))]
    parts += [printed(value) for frame in frames for value in frame.f_locals.values()]
    return "\n".join([*parts, shown(error.__cause__), shown(error.__context__)])


def printed(value: object) -> str:
    """Its repr, as far as it has one: the `self` of a client that could not be made is half made."""
    try:
        return repr(value)
    except AttributeError:
        return ""


CARELESS = """
def careless(key):
    raise error("wrong")
"""


def test_the_printer_of_locals_would_see_a_key():
    """The check below is able to fail: a local that holds the key is printed."""
    names: dict[str, Any] = {"error": ConfigurationError}
    exec(compile(CARELESS, "careless.py", "exec"), names)  # noqa: S102 - a frame that is not of this file
    error = raised(lambda: names["careless"](CANARY))
    assert CANARY in shown(error)
    assert CANARY in "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


LOOKS = {
    "repr": repr,
    "str": str,
    "format": "{}".format,
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "pprint": pprint.pformat,
    "asdict": lambda value: repr(dataclasses.asdict(value)),
    "astuple": lambda value: repr(dataclasses.astuple(value)),
    "replace": lambda value: repr(dataclasses.replace(value, region="eu")),
    "copy": lambda value: repr(copy.copy(value)),
    "deepcopy": lambda value: repr(copy.deepcopy(value)),
    "json": lambda value: json.dumps(dataclasses.asdict(value), default=str),
    "attributes": lambda value: repr([getattr(value, field.name) for field in dataclasses.fields(value)]),
    "secret-format": lambda value: f"{value.secret!s} {value.secret!r} {value.secret:>10}",
    "hash": lambda value: str(hash(value)),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_no_way_of_printing_settings_shows_the_key(look):
    """Three stars stand for the key, in whatever form the settings are printed or copied."""
    assert CANARY not in look(Settings(site_id="site", api_key=CANARY))


REFUSES = {
    "pickle": pickle.dumps,
    "pickle-secret": lambda value: pickle.dumps(value.secret, 0),
    "vars": vars,
    "vars-secret": lambda value: vars(value.secret),
    "getstate": lambda value: value.secret.__getstate__(),
    "reduce": lambda value: value.secret.__reduce_ex__(4),
    "json": json.dumps,
    "msgspec": msgspec.json.encode,
}


@pytest.mark.parametrize("look", REFUSES.values(), ids=REFUSES)
def test_what_would_write_the_key_out_is_refused(look):
    """Pickling and its like raise, and the error does not hold the key."""
    with pytest.raises((TypeError, AttributeError)) as caught:
        look(Settings(site_id="site", api_key=CANARY))
    assert CANARY not in str(caught.value)


def test_settings_show_what_differs_from_the_defaults():
    """The repr is short enough to read: what was set, the key as stars, and a URL without its password."""
    settings = Settings(site_id="site", api_key=CANARY, base_url="https://u:p@host/x?y", flush_at=7)
    assert repr(settings) == "Settings(site_id='site', api_key=***, base_url='https://***@host/x?***', flush_at=7)"
    assert repr(Secret(CANARY)) == "***"


BAD: dict[str, dict[str, Any]] = {
    "region": {"region": "mars"},
    "number": {"retries": -1},
    "backend": {"backend": "quued"},
    "backend-object": {"backend": object()},
    "backend-import": {"backend": "no.such:thing"},
    "url": {"base_url": "http://example.com"},
    "other-key": {"api_key": "sk_us_" + CANARY},
    "header": {"api_key": "Basic " + CANARY},
    "odd-character": {"api_key": CANARY + " x"},
    "no-site": {"site_id": None},
}

MISNAMED = {
    "near": ({"regione": "eu"}, "regione is not a setting. Did you mean region?"),
    "shortened": ({"flush_att": 3}, "flush_att is not a setting. Did you mean flush_at?"),
    "key": ({"apikey": CANARY}, "apikey is not a setting. Did you mean api_key?"),
    "capitals": ({"API_KEY": CANARY}, "API_KEY is not a setting. Did you mean api_key?"),
    "far": ({"zzzzzzzzzz": CANARY}, "zzzzzzzzzz is not a setting. Type help(cio_middleware.Settings) for a list."),
}


@pytest.mark.parametrize(("given", "message"), MISNAMED.values(), ids=MISNAMED)
@pytest.mark.parametrize(
    "enter", [Settings.from_env, Client.from_env, cio.configure], ids=["settings", "client", "configure"]
)
def test_an_argument_that_no_setting_is_called_is_named_with_the_nearest_one(enter, given, message):
    """A misspelt setting is refused with what to type; what it was given may be the key, and shows nowhere."""
    error = raised(lambda: enter(site_id="site", api_key=CANARY, **given))
    assert str(error) == message
    assert CANARY not in shown(error)


def test_all_misspelt_arguments_are_named_at_once():
    """Nobody restarts once per mistake, be it in the environment or in the call."""
    error = raised(lambda: Settings.from_env({"CUSTOMERIO_RETRIES": "many"}, regione="eu", flush_att=3))
    assert [line.split()[0] for line in str(error).splitlines()] == ["CUSTOMERIO_RETRIES", "flush_att", "regione"]


@pytest.mark.parametrize("enter", [Client, cio.configure], ids=["client", "configure"])
def test_a_dict_of_settings_is_refused_with_what_to_type(enter):
    """A client takes settings, not what they could be made of; the dict may hold the key, which shows nowhere."""
    error = raised(lambda: enter({"site_id": "site", "api_key": CANARY}))
    assert "not a dict" in str(error)
    assert "site_id=..." in str(error)
    assert CANARY not in shown(error)


@pytest.mark.parametrize(
    ("processors", "what"),
    [(len, "is a builtin"), (3, "is a int"), ("redact", "holds a str"), ([None], "holds a None")],
)
def test_processors_that_cannot_be_called_are_refused_with_what_to_type(processors, what):
    """One function instead of a list of them, or its name, is found before the first event."""
    error = raised(lambda: Client(Settings(**GOOD), processors=processors))
    assert f"processors {what}" in str(error)
    assert str(error).endswith("type a list of callables, processors=[...].")


def test_processors_may_come_one_by_one():
    """Whatever can be iterated over will do."""
    seen: list[Event] = []

    def keep(event: Event) -> Event:
        seen.append(event)
        return event

    with Client(Settings(**GOOD, enabled=False), processors=iter([keep, keep])) as client:
        client.track("e", person="ada")
    assert len(seen) == 2


ENTRANCES = {
    "client": lambda settings: Client(Settings(**settings)),
    "configure": lambda settings: cio.configure(**settings),
    "from-env": lambda settings: Client(Settings.from_env(**settings)),
}


@pytest.mark.parametrize("settings", BAD.values(), ids=BAD)
@pytest.mark.parametrize("enter", ENTRANCES.values(), ids=ENTRANCES)
def test_no_configuration_error_shows_the_key(enter, settings):
    """A crash reporter prints every frame's locals; none of ours holds the key by the time something is wrong."""
    error = raised(lambda: enter({"site_id": "site", "api_key": CANARY, **settings}))

    assert CANARY not in shown(error)


@pytest.mark.parametrize("overrides", [{}, {"api_key": CANARY}], ids=["environment", "argument"])
def test_no_unreadable_variable_shows_the_key_beside_it(overrides):
    """The environment holds the key, and so do the arguments; neither is in a frame when a variable does not read."""
    environ = {"CUSTOMERIO_API_KEY": CANARY, "CUSTOMERIO_RETRIES": "many"}
    assert CANARY not in shown(raised(lambda: Settings.from_env(environ, **overrides)))


@pytest.mark.parametrize(
    ("variable", "text"), [("REGION", "mars"), ("RETRIES", "many"), ("DEBUG", "maybe"), ("BASE_URL", "http://[")]
)
@pytest.mark.parametrize(
    "enter", [cio.get_client, Client, Client.from_env, cio.configure], ids=["get", "client", "from-env", "configure"]
)
def test_no_configuration_error_shows_the_key_of_the_environment(enter, variable, text, monkeypatch):
    """The same where the key comes from the environment."""
    monkeypatch.setenv("CUSTOMERIO_SITE_ID", "site")
    monkeypatch.setenv("CUSTOMERIO_API_KEY", CANARY)
    monkeypatch.setenv(f"CUSTOMERIO_{variable}", text)

    error = raised(enter)

    assert f"{variable.lower()} is" in str(error).lower()
    assert CANARY not in shown(error)


# ---------------------------------------------------------------------------------------------------------- the spool


@pytest.mark.parametrize("path", ["/var/lib/shop/events", Path("/var/lib/shop/events"), "/with a space/ünd"])
def test_a_spool_may_be_anywhere_absolute(path):
    """As text or as a path."""
    assert problems(queue="spool", spool_dir=path) == ""


def test_a_spool_may_be_large():
    """Ten gigabytes, where an outage may last for days."""
    assert problems(**SPOOL, spool_max_bytes=10 * 1024**3) == ""


def test_events_on_a_spool_do_not_age_unless_somebody_says_so():
    """The default of an hour is memory's; a number that was typed is meant, also when it is the same."""
    assert Settings(**GOOD).longest_age == 3600.0
    assert Settings(**GOOD, **SPOOL).longest_age is None
    assert Settings(**GOOD, **SPOOL, max_age=3600.0).longest_age == 3600.0
    assert Settings.from_env({"CUSTOMERIO_MAX_AGE": "3600"}, **GOOD, **SPOOL).longest_age == 3600.0
    assert Settings(**GOOD, max_age=None).longest_age is None


def test_without_the_locks_of_posix_there_is_no_spool(monkeypatch):
    """Elsewhere it is said at the start, with what to type."""
    monkeypatch.setattr(os, "name", "nt")
    found = problems(**SPOOL)
    monkeypatch.undo()
    assert 'needs the file locks of POSIX, which this system does not have: type queue="memory".' in found
