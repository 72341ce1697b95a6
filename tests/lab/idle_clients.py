"""Many clients of a gateway that are connected and ask for nothing, in a process of their own.

`python -m tests.lab.idle_clients HOST PORT CERTIFICATES COUNT` says how many are connected once all
have been greeted, and again for each line that it is given; it ends with its input.
"""

import asyncio
import contextlib
import resource
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.paths import REPO
from tests.lab.conftest import Installation

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACKNOWLEDGED = 1
HANDSHAKES_AT_ONCE = 20
PATIENCE = 120  # seconds


@dataclass(frozen=True)
class IdleClients:
    """The process with all of them."""

    process: subprocess.Popen[str]

    def connected(self) -> int:
        """How many the gateway still has."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextlib.contextmanager
def idle_clients(installation: Installation, count: int) -> Iterator[IdleClients]:
    """That many connections to the gateway, each of its own."""
    host, port = installation.outputs["endpoint"].rsplit(":", 1)
    certificates = str(installation.directory / "certs")
    with subprocess.Popen(
        [sys.executable, "-m", __name__, host, port, certificates, str(count)],
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        clients = IdleClients(process)
        assert process.stdout
        assert process.stdout.readline() == f"{count}\n"
        yield clients


class Crowd:
    """The clients of one process."""

    def __init__(self, host: str, port: int, certificates: Path) -> None:
        self._address = (host, port)
        self._tls = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        self._tls.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
        self._tls.set_alpn_protocols(["h2"])
        self._dialling = asyncio.Semaphore(HANDSHAKES_AT_ONCE)
        self.connected = 0

    async def join(self) -> asyncio.Task[None]:
        """Connect one more; the task of all that it says later."""
        async with self._dialling:
            reader, writer = await asyncio.open_connection(*self._address, ssl=self._tls)
            writer.write(PREFACE + frame(SETTINGS))
            kind, _, _ = await read_frame(reader)
            assert kind == SETTINGS
            writer.write(frame(SETTINGS, ACKNOWLEDGED))
        self.connected += 1
        return asyncio.create_task(self._answer(reader, writer))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = SETTINGS
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while kind != GOAWAY:
                kind, flags, payload = await read_frame(reader)
                if kind == PING and not flags & ACKNOWLEDGED:
                    writer.write(frame(PING, ACKNOWLEDGED, payload))
        self.connected -= 1


def frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 that belongs to no request."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    header = await reader.readexactly(9)
    return header[3], header[4], await reader.readexactly(int.from_bytes(header[:3]))


async def main(host: str, port: str, certificates: str, count: str) -> None:
    crowd = Crowd(host, int(port), Path(certificates))
    async with asyncio.timeout(PATIENCE):
        answering = await asyncio.gather(*(crowd.join() for _ in range(int(count))))
    print(crowd.connected, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(crowd.connected, flush=True)
    for task in answering:
        task.cancel()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(*sys.argv[1:]))
