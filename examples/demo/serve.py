"""
One shop in a process of its own: `python -m examples.demo.serve starlette|flask`.

It prints its port once it listens, and ends when its stdin does, so it never outlives whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

import cio_middleware as cio

from . import probe, sabotage

REPORT = "/-/report"
FLUSH_SECONDS = 20.0


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shop", choices=["starlette", "flask"])
    parser.add_argument("--lose-one", action="store_true")
    options = parser.parse_args()
    notebook = probe.Notebook()
    cio.configure(probe.TimedClient(notebook, http_client=sabotage.forgetful() if options.lose_one else None))
    listener = socket.create_server(("127.0.0.1", 0))
    (_serve_starlette if options.shop == "starlette" else _serve_flask)(listener, notebook)
    cio.get_client().close()


def _serve_starlette(listener: socket.socket, notebook: probe.Notebook) -> None:
    import uvicorn
    from starlette.middleware import Middleware

    from .shop_starlette import app

    app.user_middleware.insert(1, Middleware(probe.InsideAsgi))
    measured = probe.outside_asgi(app, notebook)

    async def reporting(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != REPORT:
            await measured(scope, receive, send)
            return
        flushed = await cio.get_client().aflush(FLUSH_SECONDS)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _report(notebook, flushed=flushed)})

    server = uvicorn.Server(
        uvicorn.Config(reporting, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    )

    def stop() -> None:
        server.should_exit = True

    _ready(listener, stop)
    asyncio.run(server.serve(sockets=[listener]))


def _serve_flask(listener: socket.socket, notebook: probe.Notebook) -> None:
    import waitress.server

    from .shop_flask import app

    middleware: Any = app.wsgi_app
    middleware.app = probe.inside_wsgi(middleware.app)
    measured = probe.outside_wsgi(app, notebook)

    def reporting(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != REPORT:
            body: Iterable[bytes] = measured(environ, start_response)
            return body
        flushed = cio.flush(FLUSH_SECONDS)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [_report(notebook, flushed=flushed)]

    server = waitress.server.create_server(reporting, sockets=[listener], threads=20)
    # Whoever runs the demo in the background of a shell has it ignored, and so would we.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _ready(listener, _interrupt)
    server.run()


def _report(notebook: probe.Notebook, *, flushed: bool) -> bytes:
    stats = cio.get_client().stats()
    ledger = {field.name: getattr(stats, field.name) for field in dataclasses.fields(stats) if field.name != "dropped"}
    report = {
        "flushed": flushed,
        "balanced": stats.balanced,
        "ledger": ledger,
        "dropped": {str(reason): count for reason, count in stats.dropped.items()},
        "captured": Counter(notebook.captured),
        "idle": notebook.idle,
        "busy": notebook.busy,
        "verbs": notebook.verbs,
    }
    return json.dumps(report).encode()


def _interrupt() -> None:
    """What Ctrl-C would do, which is how waitress is stopped."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _ready(listener: socket.socket, stop: Any) -> None:
    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop()

    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=wait_for_the_end, daemon=True).start()


if __name__ == "__main__":
    main()
