"""A stand-in for the cluster's DNS on this machine's loopback, which counts what it is asked."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pulumi_buildkit._message import extension

NAMESPACE = "build"
ZONE = "cluster.local"
RESOLV_CONF = f"search {NAMESPACE}.svc.{ZONE} svc.{ZONE} {ZONE}\noptions ndots:5\n"
"""A pod's: a name with fewer dots than that is first looked for below each of the domains."""

_TTL = 5  # seconds; that of CoreDNS's plugin kubernetes
_HEADER = "!HHHHHH"
_ANSWER = "!HHHIH4s"
_FIRST_NAME = 0xC00C  # as it stands in the question
_A, _INTERNET = 1, 1
_AUTHORITATIVE = 0x8580
_NO_SUCH_NAME = 3


class Names:
    """Names and addresses. A lookup that is lost on the way is asked again, as in a cluster."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        """By the name in full."""
        self.queries = 0
        """How many there were."""
        self.peers: set[tuple[str, int]] = set()
        """The sockets that they came from."""
        # With the receive buffer of everybody who asks for no other, such as CoreDNS.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Answer while this lasts."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._answer_all)
        try:
            yield
        finally:
            loop.remove_reader(self._socket)
            self._socket.close()

    def resolver(self) -> dict[str, Any]:
        """What makes Envoy ask here."""
        host, port = self._socket.getsockname()
        return extension(
            "envoy.network.dns_resolver.cares",
            "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            resolvers=[{"socket_address": {"address": host, "port_value": port}}],
        )

    def _answer_all(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                query, peer = self._socket.recvfrom(4096)
                self.queries += 1
                self.peers.add(peer)
                self._socket.sendto(answer(query, self.addresses), peer)


def inside(resolv_conf: Path, *command: str | Path) -> list[str | Path]:
    """What runs a command, as the same process, where this is the resolv.conf; as root."""
    mounted = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mounted, resolv_conf, *command]


def answer(query: bytes, addresses: Mapping[str, str]) -> bytes:
    """The address of the name that is asked for; nothing for another type; or no such name."""
    labels, at = [], struct.calcsize(_HEADER)
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    question = query[struct.calcsize(_HEADER) : at + 5]
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    address = addresses.get(".".join(labels).lower())
    found = b""
    if address and kind == _A:
        packed = socket.inet_aton(address)
        found = struct.pack(_ANSWER, _FIRST_NAME, _A, _INTERNET, _TTL, len(packed), packed)
    flags = _AUTHORITATIVE | (0 if address else _NO_SUCH_NAME)
    counts = (1, 1 if found else 0, 0, 0)
    return query[:2] + struct.pack(_HEADER[:1] + "HHHHH", flags, *counts) + question + found


def lost() -> int:
    """Datagrams that found no room in their receiver's buffer, on this machine since it began."""
    with open("/proc/net/snmp") as file:
        names, values = (line.split()[1:] for line in file if line.startswith("Udp:"))
    return int(dict(zip(names, values, strict=True))["RcvbufErrors"])
