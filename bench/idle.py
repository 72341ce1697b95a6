"""Clients that are connected and ask for nothing, until the standard input ends.

`python -m bench.idle HOST:PORT CERTIFICATES COUNT`
"""

import asyncio
import sys
from pathlib import Path

import grpc
from grpc import aio

AT_ONCE = 50
PATIENCE = 120.0  # seconds for all to be connected
# Else all channels of a process share one connection.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


async def _hold(endpoint: str, certificates: Path, count: int) -> None:
    ca, cert, key = ((certificates / f"{name}.pem").read_bytes() for name in ("ca", "cert", "key"))
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    channels = [aio.secure_channel(endpoint, credentials, _OWN_CONNECTION) for _ in range(count)]
    async with asyncio.timeout(PATIENCE):
        for first in range(0, count, AT_ONCE):
            some = channels[first : first + AT_ONCE]
            await asyncio.gather(*(channel.channel_ready() for channel in some))
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    connected = [c.get_state() is grpc.ChannelConnectivity.READY for c in channels]
    print(sum(connected), flush=True)


if __name__ == "__main__":
    asyncio.run(_hold(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
