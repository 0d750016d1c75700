"""
Who may reach the sandbox: by which names, from which origins, and with which token.

A sandbox of this machine alone needs no token: whoever can connect may look at it. One that others can reach asks every
call for it, in one of three ways: the header ``X-Cio-Token``, the API key of Basic credentials or the Bearer of a call
to Customer.io, or the cookie that a link sets. Such a link works once.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass, field

from cio_middleware.exceptions import ConfigurationError
from cio_middleware.sandbox.credentials import secret_of

TOKEN_HEADER = "x-cio-token"  # noqa: S105  # its name
ENTRANCE = "/_sandbox/enter"
TICKETS = 20
"""Links that wait to be opened; the oldest goes first."""

_OWN_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_PORT = re.compile(r":\d{1,5}\Z")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?){1,10}|\[[0-9a-f:.]+\]", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://[^/\s?#@]+", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{12,200}")


@dataclass(slots=True)
class Access:
    """
    The rules.

    Args:
        hosts: More names by which the sandbox may be called, each with a port or for any port.
        origins: Web origins whose pages may call it; the browser is told so.
        token: What every call must bring; ``auto`` makes one up, None asks for nothing.
        webhook_hosts: Hosts beside this machine that a webhook may be sent to, each with a port or for any port.

    Raises:
        ConfigurationError: for a name, an origin or a token that cannot be one, with what to type.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    webhook_hosts: tuple[str, ...] = ()
    _tickets: list[str] = field(default_factory=list, repr=False)
    _session: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def __post_init__(self) -> None:
        for option, hosts in {"--allow-host": self.hosts, "--allow-webhook-host": self.webhook_hosts}.items():
            for host in hosts:
                if not _NAME.fullmatch(_PORT.sub("", host)):
                    raise ConfigurationError(f"{host!r:.80} is no host name. Type for example: {option} sandbox.local")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    f"{origin!r:.80} is no origin. Type for example: --allow-origin http://localhost:3000"
                )
        if self.token == "auto":  # noqa: S105  # not a token, a wish for one
            self.token = secrets.token_urlsafe(24)
        elif self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ConfigurationError(
                "the token must have 12 to 200 letters, digits or any of ._~+/=-\n  Type --token auto to have one made."
            )
        self.hosts = tuple(host.lower() for host in self.hosts)
        self.origins = tuple(origin.lower() for origin in self.origins)

    def knows(self, host: str, listening: str | None) -> bool:
        """
        Return True for a Host by which this sandbox may be called.

        Args:
            host: The Host header.
            listening: The address that this connection came in at: no name that an attacker could point elsewhere.
        """
        if _OWN_HOST.fullmatch(host):
            return True
        name = host.lower()
        bare = _PORT.sub("", name)
        return name in self.hosts or bare in self.hosts or (self.token is not None and _same_address(bare, listening))

    def welcomes(self, origin: str) -> bool:
        """Return True for a page of this origin."""
        return origin.lower() in self.origins

    def admits(self, port: int | str, offered: str | None, authorization: str | None, cookie: str | None) -> bool:
        """
        Return True when a call brings what it must.

        Args:
            port: The port that it came in at; a browser sends cookies of all ports of a host.
            offered: Its ``X-Cio-Token``.
            authorization: Its ``Authorization``: Basic, where the password counts, or Bearer.
            cookie: Its ``Cookie``.
        """
        if self.token is None:
            return True
        brought = [offered, secret_of(authorization)]
        if any(one is not None and hmac.compare_digest(one.encode(), self.token.encode()) for one in brought):
            return True
        wanted = f"{self.cookie(port)}={self._session}"
        return any(hmac.compare_digest(part.strip().encode(), wanted.encode()) for part in (cookie or "").split(";"))

    def ticket(self) -> str:
        """Return the path of a link that lets one browser in, once."""
        self._tickets.append(secrets.token_urlsafe(24))
        del self._tickets[:-TICKETS]
        return f"{ENTRANCE}?ticket={self._tickets[-1]}"

    def enter(self, ticket: str, port: int | str) -> str | None:
        """Take a ticket, and return the cookie that it buys; None for one that is unknown or was used."""
        found = next((one for one in self._tickets if hmac.compare_digest(one.encode(), ticket.encode())), None)
        if found is None:
            return None
        self._tickets.remove(found)
        return f"{self.cookie(port)}={self._session}; Path=/; HttpOnly; SameSite=Strict"

    @staticmethod
    def cookie(port: int | str) -> str:
        """Return the name of the cookie; two sandboxes on one machine do not take each other's."""
        return f"cio_sandbox_{port}"


def _same_address(host: str, listening: str | None) -> bool:
    try:
        return listening is not None and ipaddress.ip_address(host.strip("[]")) == ipaddress.ip_address(listening)
    except ValueError:
        return False
