"""
Find out who holds a port, to say so.
"""

from __future__ import annotations

from pathlib import Path

LISTENING = "0A"


def holder(port: int, proc: Path = Path("/proc")) -> str | None:
    """
    Return the program that listens at a port, as ``name (pid 812)``; None when that cannot be seen.

    Args:
        port: The port.
        proc: Where Linux shows its processes; elsewhere there is none, and nothing is found.
    """
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(proc / "net" / table, port)}
    if not inodes:
        return None
    for process in proc.glob("[0-9]*"):
        if _holds(process, inodes):
            return f"{_name(process)} (pid {process.name})"
    return None


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text("ascii").splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port]


def _holds(process: Path, inodes: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in inodes for link in (process / "fd").iterdir())
    except OSError:  # another user's, or gone meanwhile
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "a program"
