"""What is loaded, decoded and installed, and what the command prints (S15, S18, S27, S28)."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import subprocess
import sys
import textwrap
import tomllib
import zlib
from pathlib import Path

import pytest

import cio_middleware as cio
from cio_middleware.cli.main import main

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CANARY = "c4n4ry"


def run(script: str, *paths: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with more places to import from."""
    path = os.pathsep.join([*map(str, paths), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


# ------------------------------------------------------------------------------------------------- what is decoded

UNSAFE = {"pickle", "cPickle", "marshal", "shelve", "dbm", "yaml", "dill", "cloudpickle", "joblib", "jsonpickle"}


def imported(tree: ast.Module) -> set[str]:
    """The top-level names of all modules that a module imports, wherever in it."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names}


def evaluated(tree: ast.Module) -> set[str]:
    """The built-in functions that a module calls which turn text into code."""
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return calls & {"eval", "exec", "compile", "__import__"}


def test_s15_no_module_can_run_what_it_decodes():
    """Nothing in the package, the sandbox included, imports a decoder that runs code, or evaluates text."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in (ROOT / "cio_middleware").rglob("*.py")}
    assert not {path: found for path, tree in trees.items() if (found := imported(tree) & UNSAFE | evaluated(tree))}
    assert imported(ast.parse("def f():\n    from pickle import loads")) & UNSAFE
    assert evaluated(ast.parse("x = eval('1')"))


def test_s15_such_decoders_are_not_even_loaded():
    """A process that imports the package and captures an event has loaded no pickle, shelve or yaml for it."""
    script = """
        import sys
        import cio_middleware as cio, cio_middleware.asgi, cio_middleware.wsgi
        before = set(sys.modules)
        with cio.Client(cio.Settings(enabled=False)) as client:
            client.track("step", {"total": 42}, person="ada")
        print(before & {"pickle", "shelve", "yaml", "dill"}, set(sys.modules) & {"shelve", "yaml", "dill"})
    """
    done = run(script)
    assert (done.stdout.split("\n")[0], done.stderr) == ("set() set()", "")


DEEP = 64 * 1024 - 2
ANSWERS: dict[str, bytes] = {
    "lists": b"[" * DEEP,
    "closed-lists": b"[" * (DEEP // 2) + b"]" * (DEEP // 2),
    "objects": b'{"a":' * (DEEP // 5),
    "errors": b'{"errors":' + b"[" * (DEEP // 2) + b"]" * (DEEP // 2) + b"}",
    "number": b"9" * DEEP,
    "exponent": b"1e" + b"9" * 1000,
    "surrogates": b'"' + b"\\ud800" * 1000 + b'"',
    "bytes": bytes(range(256)) * 200,
}


@pytest.mark.parametrize("status", ["200 OK", "207 Multi-Status", "400 Bad Request", "503 Unavailable"])
@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
def test_s15_no_answer_breaks_the_delivery(serve, answer, eventually, body, status):
    """An answer made to exhaust a decoder is no more than a bad answer: the worker lives, and the books are right."""
    first = iter([answer(status, body)])
    server = serve(lambda connection, _: connection.sendall(next(first, answer("200 OK"))))
    settings = cio.Settings(site_id="site", api_key="key", base_url=server.url, flush_interval=0.01, retry_base=0.001)
    with cio.Client(settings) as client:
        client.track("step", person="ada")
        eventually(lambda: server.requests)
        client.track("step", person="ada")
        assert client.flush(5)
        stats = client.stats()
    assert (stats.captured, stats.pending, stats.delivered + stats.dead_lettered) == (2, 0, 2)


def test_s15_a_compressed_answer_is_not_inflated(serve, answer, eventually):
    """We ask for no compression and inflate none, so a small answer cannot become a large one."""
    bomb = zlib.compress(b" " * 50_000_000, 9)
    first = iter([answer("200 OK", bomb, "Content-Encoding: deflate")])
    server = serve(lambda connection, _: connection.sendall(next(first, answer("200 OK"))))
    settings = cio.Settings(site_id="site", api_key="key", base_url=server.url, flush_interval=0.01, retry_base=0.001)
    with cio.Client(settings) as client:
        client.track("step", person="ada")
        eventually(lambda: client.stats().delivered)
        assert client.stats().retries == 1
    assert all(b"\r\naccept-encoding: identity\r\n" in request.lower() for request in server.requests)


# --------------------------------------------------------------------------------------------------- what is loaded


@pytest.fixture(name="rogue")
def _rogue(tmp_path: Path) -> Path:
    """An installed distribution that enters every group of ours, under names of ours and one of its own."""
    groups = ("backends", "queues", "transports", "processors")
    names = ("queued", "direct", "null", "memory", "http", "rogue")
    entries = "\n".join(
        f"[cio_middleware.{group}]\n" + "\n".join(f"{name} = rogue:it" for name in names) for group in groups
    )
    (tmp_path / "rogue-1.0.dist-info").mkdir()
    (tmp_path / "rogue-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rogue\nVersion: 1.0\n")
    (tmp_path / "rogue-1.0.dist-info" / "entry_points.txt").write_text(entries)
    (tmp_path / "rogue.py").write_text("print('rogue ran')\nclass it:\n    emit = flush = close = print\n")
    return tmp_path


UNNAMED = """
    import contextlib, sys
    import cio_middleware as cio, cio_middleware.asgi, cio_middleware.wsgi, cio_middleware.testing
    from cio_middleware.cli.main import main
    for backend in ("queued", "direct", "null"):
        with cio.Client(cio.Settings(site_id="s", api_key="k", backend=backend, base_url="http://127.0.0.1:1",
                                     retries=0, shutdown_timeout=0.0)) as client:
            client.track("step", person="ada")
    with contextlib.suppress(cio.ConfigurationError):
        cio.Client(cio.Settings(site_id="s", api_key="k", backend="rogu"))
    with contextlib.suppress(SystemExit):
        main(["--version"])
    print("loaded" if "rogue" in sys.modules else "not loaded")
"""


def test_s18_a_plug_in_that_nobody_named_is_not_imported(rogue):
    """An installed package enters by no group and no name, not even one of ours, and not by a near miss."""
    done = run(UNNAMED, rogue)
    assert "rogue ran" not in done.stdout
    assert done.stdout.split("\n")[-2] == "not loaded", done.stderr


def test_s18_a_plug_in_that_is_named_is_imported(rogue):
    """Named in the settings, the same package is used: the test above would have seen it."""
    script = "import cio_middleware as cio; cio.Client(cio.Settings(site_id='s', api_key='k', backend='rogue'))"
    assert "rogue ran" in run(script, rogue).stdout


# ------------------------------------------------------------------------------------------------- what is installed


def test_s27_five_packages_come_with_it():
    """Who installs the package installs these five, each with a floor and below its next major version."""
    requirement = re.compile(r"([a-z-]+)>=[0-9.]+,<[0-9]+")
    found = [requirement.fullmatch(wanted) for wanted in PROJECT["dependencies"]]
    assert all(found), PROJECT["dependencies"]
    names = sorted(match[1] for match in found if match is not None)
    assert names == ["httpx", "msgspec", "opentelemetry-api", "starlette", "wrapt"]


def test_s27_every_extra_has_a_floor_and_every_pin_a_version():
    """No requirement is open at the bottom, and what the tests run with is pinned to the digit."""
    extras = [wanted for extra in PROJECT["optional-dependencies"].values() for wanted in extra]
    assert not [wanted for wanted in extras if ">=" not in wanted and not wanted.startswith("cio-middleware[")]
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()]
    pins = [line for line in lines if line]
    assert not [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[^\s,*]+(\s*;.+)?", pin)]
    pinned = {re.split("==", pin)[0].lower().replace("_", "-") for pin in pins}
    wanted = {re.split(r"[\[><=;]", name)[0].lower() for name in [*PROJECT["dependencies"], *extras]} - {
        "cio-middleware"
    }
    assert wanted <= pinned, wanted - pinned


# --------------------------------------------------------------------------------------------------- what is printed

COMMANDS: dict[str, list[str]] = {
    "none": [],
    "help": ["--help"],
    "version": ["--version"],
    "sandbox-help": ["sandbox", "--help"],
    "unknown": ["nonsense"],
    "wrong-port": ["sandbox", "--port", "many"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_s28_the_command_prints_nothing_of_its_environment(arguments, monkeypatch, capsys):
    """No command shows a key or an address of the environment that it runs in, whether it succeeds or fails."""
    for name in ("API_KEY", "SITE_ID", "API_KEY_FILE"):
        monkeypatch.setenv(f"CUSTOMERIO_{name}", CANARY)
    monkeypatch.setenv("CUSTOMERIO_BASE_URL", f"https://user:{CANARY}@host")
    with contextlib.suppress(SystemExit):
        main(arguments)
    shown = capsys.readouterr()
    assert shown.out + shown.err
    assert CANARY not in shown.out + shown.err
