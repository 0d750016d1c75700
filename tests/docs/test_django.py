"""The page about Django, done as its reader does it: its blocks in a new project, under the servers that it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .test_readme import serving

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "django.md").read_text("utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
SIGN_IN = """
from django.contrib.auth import get_user_model, login

def sign_in(request):
    login(request, get_user_model().objects.get_or_create(username="ada")[0])
    return HttpResponse("Hello.")

urlpatterns.append(path("sign-in", sign_in))
"""
SERVERS = {
    "wsgi": ["gunicorn", "mysite.wsgi", "--bind", "127.0.0.1:0"],
    "asgi": ["uvicorn", "mysite.asgi:application", "--port", "0"],
}


@pytest.fixture(name="project")
def _project(tmp_path):
    """What `startproject` makes, with the blocks of the page where the page says, and a database."""
    outside, who, setting, view = BLOCKS

    def manage(*arguments: str) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CUSTOMERIO_")}
        subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environ, check=True, capture_output=True)

    manage("-m", "django", "startproject", "mysite", ".")
    files = {
        "wsgi.py": outside,
        "asgi.py": outside.replace("cio_middleware.wsgi", "cio_middleware.asgi"),
        "customerio.py": who,
        "settings.py": setting,
        "urls.py": view + SIGN_IN,
    }
    for name, text in files.items():
        path = tmp_path / "mysite" / name
        path.write_text((path.read_text("utf-8") if path.exists() else "") + "\n" + text, "utf-8")
    manage("manage.py", "migrate", "--verbosity", "0")
    return tmp_path


@pytest.mark.parametrize("server", SERVERS)
def test_a_view_of_somebody_signed_in_becomes_their_event(server, project, sandbox):
    """The blocks do what the page says, under a server for each of the two files that it names."""
    settings = {**sandbox.settings, "flush_interval": "0.1"}
    with (
        serving(project, SERVERS[server], settings) as url,
        httpx.Client(base_url=url, timeout=30, trust_env=False) as browser,
    ):
        assert browser.get("/sign-in").text == "Hello."
        assert browser.get("/orders/42").text == "Thank you."
        event = sandbox.wait_for("order_placed", data={"total": 42}, timeout=10)

    assert event.person == "1"
    assert event.data["context"]["page"]["path"] == "/orders/42"
