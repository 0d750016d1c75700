"""From what a setting names to an object; nothing is imported that was not named."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import pytest

from cio_middleware._plugins import load
from cio_middleware.exceptions import ConfigurationError

_numbers = itertools.count()
METHODS = ("emit", "flush", "close")

BACKEND = """
class Backend:
    def emit(self, envelope, item): ...
    def flush(self, timeout): ...
    def close(self, timeout): ...

def make():
    return Backend()

made = Backend()
half = type("Half", (), {"emit": lambda self: None})()
number = 5

def fails():
    raise RuntimeError("no disk")

class Outer:
    Inner = Backend
"""


class Mine:
    """A backend as a third party writes it."""

    def emit(self, envelope: Any, item: bytes) -> None:
        """Take an event."""

    def flush(self, timeout: float) -> None:
        """Wait."""

    close = flush


def backend(named: Any) -> Any:
    """Load a backend by these rules."""
    return load(named, group="backend", built_in={"queued": Mine, "null": Mine}, methods=METHODS)


@pytest.fixture(name="plugin")
def _plugin(tmp_path, monkeypatch):
    """A module of a name that nothing else has, on a path of its own; returns its name."""
    name = f"cio_plugin_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(BACKEND)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def install(folder, distribution, entries, group="cio_middleware.backends"):
    """Write what pip writes of an installed package with entry points."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")


def test_an_instance_is_used_as_it_is():
    """What has the methods needs no name."""
    mine = Mine()
    assert backend(mine) is mine


@pytest.mark.parametrize("named", [Mine, lambda: Mine(), "queued"], ids=["class", "factory", "short-name"])  # noqa: PLW0108
def test_a_class_a_factory_or_a_short_name_makes_one(named):
    """A new object each time."""
    assert type(backend(named)) is Mine
    assert backend(named) is not backend(named)


@pytest.mark.parametrize("attribute", ["Backend", "make", "made"])
def test_a_module_and_an_attribute_name_one(plugin, attribute):
    """`module:attr` may be a class, a factory or an instance."""
    assert type(backend(f"{plugin}:{attribute}")).__name__ == "Backend"


def test_an_entry_point_names_one(plugin, tmp_path):
    """An installed package offers a backend under a name of its own."""
    install(tmp_path, "cio_theirs", {"kafka": f"{plugin}:Backend"})
    assert type(backend("kafka")).__name__ == "Backend"


def test_nothing_is_imported_that_was_not_named(plugin, tmp_path):
    """An installed package cannot enter by itself, nor by a name that resembles its own."""
    install(tmp_path, "cio_theirs", {"kafka": f"{plugin}:Backend", "null": f"{plugin}:Backend"})
    backend("queued")
    assert type(backend("null")) is Mine
    for named in ("kafkas", "Kafka", "kafk"):
        with pytest.raises(ConfigurationError, match="Did you mean 'kafka'"):
            backend(named)
    assert plugin not in sys.modules


def test_an_entry_point_of_another_group_is_not_found(plugin, tmp_path):
    """A queue is no backend."""
    install(tmp_path, "cio_theirs", {"kafka": f"{plugin}:Backend"}, group="cio_middleware.queues")
    with pytest.raises(ConfigurationError, match="backend is 'kafka'"):
        backend("kafka")


def test_two_packages_of_one_name_must_be_told_apart(plugin, tmp_path):
    """Which of them is found first would depend on the order of sys.path."""
    install(tmp_path, "cio_theirs", {"kafka": f"{plugin}:Backend"})
    install(tmp_path, "cio_others", {"kafka": f"{plugin}:make"})
    with pytest.raises(ConfigurationError, match=rf"{plugin}:Backend and {plugin}:make are both called"):
        backend("kafka")


WRONG = {
    "near": ("qeued", "type one of queued, null, a 'module:attr', .* Did you mean 'queued'?"),
    "far": ("zzz", r"or the name of an installed plug-in\.$"),
    "empty": ("", "backend is ''"),
    "capitals": ("NULL", "Did you mean 'null'?"),
    "no-module": ("no.such.module:x", "cannot be imported: ModuleNotFoundError: No module named 'no'"),
    "no-attribute": ("{plugin}:nothing", "cannot be imported: AttributeError"),
    "no-attribute-name": ("{plugin}:", "cannot be imported: AttributeError"),
    "no-module-name": (":x", "cannot be imported: ValueError"),
    "relative": (".x:y", "cannot be imported: TypeError"),
    "half": ("{plugin}:half", "has no method flush, close. It must implement cio_middleware.typing.Backend"),
    "number": ("{plugin}:number", "has no method emit, flush, close"),
    "factory-fails": ("{plugin}:fails", "cannot be made: RuntimeError."),
    "none": (None, "backend <NoneType> has no method emit, flush, close"),
    "object": (object(), "backend <object> has no method"),
    "class-with-arguments": (itertools.islice, "cannot be made: TypeError"),
}


@pytest.mark.parametrize(("named", "reason"), WRONG.values(), ids=WRONG)
def test_what_names_nothing_is_a_configuration_error(named, reason, plugin):
    """Whatever goes wrong on the way to the object is said with the name that was given."""
    with pytest.raises(ConfigurationError, match=reason):
        backend(named.format(plugin=plugin) if isinstance(named, str) else named)


@pytest.mark.parametrize("content", ["import no_such_module_at_all", "1 +", "raise OSError('no disk')"])
def test_a_plug_in_that_does_not_import_is_a_configuration_error(plugin, tmp_path, content):
    """A plug-in with a mistake, or with an extra that is missing, fails at the start of the client with its name."""
    (tmp_path / f"{plugin}.py").write_text(content)
    install(tmp_path, "cio_theirs", {"kafka": f"{plugin}:Backend"})
    for named in ("kafka", f"{plugin}:Backend"):
        with pytest.raises(ConfigurationError, match=rf"backend '{named}' cannot be imported: \w+Error") as caught:
            backend(named)
        assert caught.value.__cause__ is not None
