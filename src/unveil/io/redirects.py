"""Redirects of web servers: where an address that a user named may lead."""

from __future__ import annotations

import ipaddress
import socket
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from unveil.errors import StoreError

if TYPE_CHECKING:
    import aiohttp

MAX_REDIRECTS = 5
# What another server may see of a request. Anything else may be a credential.
PLAIN_HEADERS = frozenset({"range", "accept", "accept-encoding", "user-agent", "host"})


class Reach(IntEnum):
    """Who can reach an address: this machine and its link, a private network, or everybody."""

    MACHINE, NETWORK, INTERNET = range(3)


def reach_of(address: str) -> Reach:
    """The reach of an IP address. Raises ValueError for anything else."""
    ip = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback or ip.is_link_local or ip.is_unspecified:
        return Reach.MACHINE
    return Reach.INTERNET if ip.is_global and not ip.is_multicast else Reach.NETWORK


def check_redirect(source: str, target: str) -> None:
    """Raises StoreError for a redirect that names a user, or that leaves encryption. Both are whole addresses."""
    old, new = urlsplit(source), urlsplit(target)
    if new.scheme not in ("http", "https"):
        raise _refused(old.hostname, f"to an address of {new.scheme or 'no'} protocol")
    if old.scheme == "https" and new.scheme != "https":
        raise _refused(old.hostname, f"to {new.hostname}, which is not encrypted")
    if "@" in new.netloc:
        raise _refused(old.hostname, f"to {new.hostname} with credentials of its own")


def check_reach(source: str, found: Reach, least: Reach) -> None:
    """Raises StoreError if the server ``source``, of reach ``least``, leads to an address of less reach."""
    if found < least:
        place = "this machine" if found is Reach.MACHINE else "a private network"
        raise _refused(source, f"into {place}")


def check_peer(source: str, connection: socket.socket, least: Reach) -> Reach:
    """`check_reach` of the address that is connected to, and its reach: a name may lead elsewhere than a moment ago."""
    found = reach_of(str(connection.getpeername()[0]))
    check_reach(source, found, least)
    return found


def check_hosts(source: str, target: str) -> None:
    """`check_reach` of two addresses whose hosts are looked up, as a proxy will do again."""
    check_reach(urlsplit(source).hostname or "", looked_up(target), looked_up(source))


def looked_up(url: str) -> Reach:
    """The reach of the host of an address. One that is not found counts as of everybody."""
    host = urlsplit(url).hostname or ""
    try:
        return min(reach_of(str(entry[4][0])) for entry in socket.getaddrinfo(host, None))
    except (OSError, ValueError, UnicodeError):  # behind a proxy, names need not be known here
        return Reach.INTERNET


def _refused(source: str | None, where: str) -> StoreError:
    return StoreError(
        f"{source}: expected the file, found a redirect {where}, which is not followed. Check the address, or download "
        "the file and name its path"
    )


async def web_session(**options: Any) -> aiohttp.ClientSession:
    """A session for fsspec that checks every redirect, and every address that a redirect leads to."""
    from contextvars import ContextVar

    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult
    from aiohttp.resolver import ThreadedResolver

    # Of the request of a task: the server that redirected it, and the reach that the next address must have.
    redirected: ContextVar[tuple[str, Reach]] = ContextVar("redirected", default=("", Reach.MACHINE))
    reach_of_host: dict[str, Reach] = {}

    class CheckedResolver(AbstractResolver):
        """Looks names up once: the address that is checked is the one that is connected to."""

        def __init__(self) -> None:
            self._inner = ThreadedResolver()

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await self._inner.resolve(host, port, family)
            reach = min(reach_of(entry["host"]) for entry in found)
            source, least = redirected.get()
            check_reach(source, reach, least)
            reach_of_host[host] = max(reach, reach_of_host.get(host, reach))
            return found

        async def close(self) -> None:
            await self._inner.close()

    async def start(session: object, context: Any, request: aiohttp.TraceRequestStartParams) -> None:
        redirected.set(("", Reach.MACHINE))
        context.n_redirects = 0

    async def redirect(session: object, context: Any, request: aiohttp.TraceRequestRedirectParams) -> None:
        answer, old = request.response, request.response.url
        try:
            context.n_redirects += 1
            if context.n_redirects > MAX_REDIRECTS:
                raise _refused(old.host, f"after {MAX_REDIRECTS} others")
            location = answer.headers.get("Location") or answer.headers.get("URI") or ""
            new = old.join(type(old)(location))
            check_redirect(str(old), str(new))
            host = old.host or ""
            own, literal = _literal(host), _literal(new.host or "")
            least = reach_of_host.get(host, Reach.INTERNET) if own is None else own
            if literal is not None:
                check_reach(host, literal, least)
        except ValueError:
            answer.close()
            raise _refused(old.host, "to no address") from None
        except BaseException:
            answer.close()
            raise
        redirected.set((host, least))
        if new.origin() != old.origin():
            for name in {name.lower() for name in request.headers} - PLAIN_HEADERS:
                request.headers.popall(name)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(start)
    trace.on_request_redirect.append(redirect)
    connector = aiohttp.TCPConnector(resolver=CheckedResolver(), use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector, trace_configs=[trace], **options)


def _literal(host: str) -> Reach | None:
    """The reach of a host that is an IP address; None for a name. Raises ValueError for a shortened address."""
    return reach_of(host) if ":" in host or host.replace(".", "").isdigit() else None
