"""The drawing of the layers, in pyproject.toml, is what the code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


LINT_IMPORTS = [sys.executable, "-c", "import importlinter.cli as cli; cli.lint_imports_command()"]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package in a folder, as `make layers` does."""
    command = [*LINT_IMPORTS, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_import_follows_the_drawing():
    """import-linter keeps all of its contracts, and every module has its layer."""
    verdict = lint_imports(ROOT)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_a_module_that_is_not_drawn_fails(tmp_path):
    """The drawing is exhaustive: a new module must be given a layer before it lands."""
    package = tmp_path / "cio_middleware"
    package.mkdir()
    for name in ("__init__", "exceptions", "stray"):
        (package / f"{name}.py").touch()
    (tmp_path / ".importlinter").write_text(
        "[importlinter]\nroot_package = cio_middleware\n"
        "[importlinter:contract:drawn]\nname = drawn\ntype = layers\ncontainers = cio_middleware\n"
        "exhaustive = true\nlayers =\n  exceptions\n"
    )

    verdict = lint_imports(tmp_path)

    assert verdict.returncode == 1
    assert "cio_middleware.stray" in verdict.stdout
