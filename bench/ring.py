"""How a farm behaves with a thousand pods: docs/farms-at-scale.md and .json.

A real Envoy with the gateway's own configuration, stand-ins for the pods and for the cluster's DNS
on this machine's loopback; no lab. `python -m bench.ring`, as root, takes some minutes; with
`--page` it makes the page anew from the figures that there are.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi_buildkit import Protocol, Routing, _envoy
from pulumi_buildkit._drain import READY_PORT
from pulumi_buildkit._farm import Farm
from pulumi_buildkit._message import extension
from pulumi_buildkit.gateway import ENVOY_OPTIONS, HOLD, KEEPALIVE

from bench import scale
from bench.names import NAMESPACE, RESOLV_CONF, ZONE, Names, inside, lost
from lab import progress
from lab.measure import circumstances
from lab.paths import REPO
from tests.envoy_gateway import (
    BINARY,
    DOMAIN,
    Authority,
    write_bootstrap,
    write_certificates,
    write_clients,
)
from tests.running_gateway import on_this_machine

PAGE = REPO / "docs" / "farms-at-scale.md"
RAW = PAGE.with_suffix(".json")

RINGS = (3, 10, 100, 1000)
"""Pods among which projects are distributed."""
GATEWAYS = (0, 100, 1000)
"""Pods behind a gateway that rests; 0: no farm."""
STARTS = 3
"""Of each of those: how long they take differs."""
POLICIES = ("MAGLEV", "RING_HASH")
"""The product's, and what Envoy calls its other one."""
PROJECTS = [f"project-{number}.{DOMAIN}" for number in range(10_000)]

_HOST = f"buildkitd.{NAMESPACE}.svc"
_SERVICE = "127.251.255.1"
_CONNECTIONS, _AT_ONCE = 4, 50
_PATIENCE = 120.0  # seconds
_LOOK = 0.05  # seconds from one look to the next
# So long that each name is looked up as often as any other, and each pod asked.
_REFRESH, _REST = 5, 15  # seconds
_HEALTHY = "cluster.{}.membership_healthy"
_KNOWN = "cluster.{}.membership_total"
_CHECKS = "cluster.{}.health_check.attempt"
_CLUSTER = "address"

Bootstrap = dict[str, Any]


def pod(number: int) -> str:
    """Its name, as a BuildkitStatefulSet says it."""
    return f"buildkitd-{number}.buildkitd-pods.{NAMESPACE}.svc"


def shipped(pods: int) -> Bootstrap:
    """The configuration of a gateway in front of so many pods."""
    farm = Farm(tuple(pod(number) for number in range(pods)), Routing.HOST_NAME) if pods else None
    return _envoy.bootstrap(
        Protocol.HTTP2,
        # The pods answer where they are checked.
        _envoy.Upstream(_HOST, READY_PORT, farm),
        _envoy.Downstream(HOLD, KEEPALIVE),
    )


def rings(pods: int) -> Bootstrap:
    """The gateway's farm under each policy, and a listener by which its choices are quickly seen.

    The hash of a name is the same one, whether a request or a handshake has it.
    """
    bootstrap = shipped(pods)
    resources = bootstrap["static_resources"]
    farm = next(one for one in resources["clusters"] if one["name"] == _CLUSTER)
    resources["clusters"] = [{**farm, "name": one, "lb_policy": one} for one in POLICIES]
    health = next(one for one in resources["listeners"] if one["name"] == "health")
    resources["listeners"] = [health, _names_listener()]
    return bootstrap


def _names_listener() -> dict[str, Any]:
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster_header": "cluster",
            "hash_policy": [{"header": {"header_name": ":authority"}}],
        },
    }
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="names",
        http_filters=[
            extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
        ],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    )
    return {
        "name": "names",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [manager]}],
    }


def moves(before: Sequence[str], after: Sequence[str], changed: str) -> dict[str, float]:
    """The share of projects that meet another pod since *changed* went or came.

    Who neither was there nor is moved needlessly: the one pod stayed, and so did the other.
    """
    moved = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    needlessly = sum(changed not in pair for pair in moved)
    return {"moved": len(moved) / len(before), "needlessly": needlessly}


def fullest(homes: Sequence[str], pods: int) -> float:
    """The projects of the pod that has most, to the mean."""
    return max(Counter(homes).values()) * pods / len(homes)


class Pods:
    """Stand-ins for buildkitd's pods: each has an address, where it says who it is."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._servers: dict[int, asyncio.Server] = {}
        names.addresses[f"{_HOST}.{ZONE}"] = _SERVICE

    async def start(self, *numbers: int) -> None:
        """These are there, and ready."""
        for number in numbers:
            address = f"127.251.{number // 250}.{number % 250 + 1}"
            self._servers[number] = await asyncio.start_server(_says_who, address, READY_PORT)
            self._names.addresses[f"{pod(number)}.{ZONE}"] = address

    def stop(self, *numbers: int) -> None:
        """These are gone."""
        for number in numbers:
            self._servers.pop(number).close()
            del self._names.addresses[f"{pod(number)}.{ZONE}"]

    def address(self, number: int) -> str:
        """Where one of them is."""
        return self._names.addresses[f"{pod(number)}.{ZONE}"]

    @contextlib.asynccontextmanager
    async def there(self, number: int) -> AsyncIterator[None]:
        """So many of them, while this lasts."""
        await self.start(*range(number))
        try:
            yield
        finally:
            self.stop(*self._servers)


async def _says_who(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    address = writer.get_extra_info("sockname")[0]
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(f"HTTP/1.1 200 OK\r\npod: {address}\r\ncontent-length: 0\r\n\r\n".encode())
    writer.close()


@dataclass(frozen=True)
class Envoy:
    """One that runs."""

    process: int
    ports: dict[str, int]
    began: float

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.began

    async def ready(self) -> bool:
        """What a kubelet's readiness probe finds."""
        with contextlib.suppress(OSError):
            return " 200 OK" in await self._get("health", _envoy.HEALTH_PATH)
        return False

    async def statistic(self, name: str) -> int:
        """A counter or gauge."""
        said = await self._get("admin", f"/stats?filter=^{name}$")
        return sum(map(int, re.findall(rf"(?m)^{name}: (\d+)\r?$", said)))

    async def knows(self, pods: int, cluster: str = _CLUSTER) -> bool:
        """Whether just so many pods are well; the Service is always."""
        return await self.statistic(_HEALTHY.format(cluster)) == pods + 1

    async def homes(self, cluster: str) -> list[str]:
        """The address of each project's pod."""
        share = len(PROJECTS) // _CONNECTIONS
        parts = (PROJECTS[first : first + share] for first in range(0, len(PROJECTS), share))
        found = await asyncio.gather(*(self._ask(cluster, part) for part in parts))
        return [home for part in found for home in part]

    def cpu_seconds(self) -> float:
        """What it has had of the processors."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """What is resident."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6

    async def _ask(self, cluster: str, projects: Sequence[str]) -> list[str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports["names"])
        homes: list[str] = []
        for first in range(0, len(projects), _AT_ONCE):
            some = projects[first : first + _AT_ONCE]
            for project in some:
                writer.write(
                    f"GET / HTTP/1.1\r\nhost: {project}\r\ncluster: {cluster}\r\n\r\n".encode()
                )
            for _ in some:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                homes.append(head.partition("\r\npod: ")[2].partition("\r\n")[0])
        writer.close()
        assert all(homes), f"{cluster}: {homes.count('')} projects met no pod"
        return homes

    async def _get(self, listener: str, path: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[listener])
        writer.write(f"GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n".encode())
        said = await reader.read()
        writer.close()
        return said.decode()


@contextlib.asynccontextmanager
async def envoy(names: Names, bootstrap: Bootstrap) -> AsyncIterator[Envoy]:
    """Envoy with a gateway's files, as soon as it is ready."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        write_certificates(root, Authority("edge"), Authority("internal"))
        write_clients(root, ["dev"])
        ports = on_this_machine(bootstrap)
        bootstrap["typed_dns_resolver_config"] = names.resolver()
        config = write_bootstrap(root, bootstrap)
        resolv_conf, log = root / "resolv.conf", root / "log"
        resolv_conf.write_text(RESOLV_CONF)
        with log.open("w") as file:
            process = subprocess.Popen(
                inside(resolv_conf, BINARY, "--config-path", config, *ENVOY_OPTIONS),
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        try:
            running = Envoy(process.pid, ports, time.monotonic())
            await _until(running.ready, log.read_text)
            yield running
        finally:
            process.kill()
            process.wait()


async def _until(condition: Callable[[], Awaitable[bool]], why: Callable[[], str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(why())
        await asyncio.sleep(_LOOK)


async def _known(to: Envoy, pods: int, clusters: Sequence[str]) -> None:
    for cluster in clusters:
        await _until(
            lambda cluster=cluster: to.knows(pods, cluster), lambda: f"{pods} pods are never known"
        )


async def distributed(names: Names, pods: Pods, number: int) -> dict[str, Any]:
    """How *number* pods share the projects by each policy; who moves when one goes or comes."""
    leaving, homes = number // 2, dict[str, list[list[str]]]()

    async def look(there: int) -> None:
        await _known(gateway, there, POLICIES)
        for policy in POLICIES:
            homes.setdefault(policy, []).append(await gateway.homes(policy))

    async with pods.there(number), envoy(names, rings(number + 1)) as gateway:
        gone = pods.address(leaving)
        await look(number)
        pods.stop(leaving)
        await look(number - 1)
        await pods.start(leaving, number)
        come = pods.address(number)
        await look(number + 1)
    return {
        policy: {
            "fullest": fullest(before, number),
            "goes": moves(before, without, gone),
            "comes": moves(before, more, come),
        }
        for policy, (before, without, more) in homes.items()
    }


async def started(to: Envoy, number: int) -> dict[str, float]:
    """How a gateway that is ready comes to know *number* pods."""
    ready = to.age
    known = await to.statistic(_KNOWN.format(_CLUSTER)) - 1
    await _until(lambda: to.knows(number), lambda: f"{number} pods are never known")
    return {"ready": ready, "known when ready": known, "complete": to.age}


async def at_rest(names: Names, to: Envoy) -> dict[str, float]:
    """What a gateway needs every second when it knows its pods and nobody builds."""
    await asyncio.sleep(_REFRESH)
    checks = _CHECKS.format(_CLUSTER)
    began, queries, sockets = time.monotonic(), names.queries, len(names.peers)
    cpu, checked = to.cpu_seconds(), await to.statistic(checks)
    await asyncio.sleep(_REST)
    seconds = time.monotonic() - began
    return {
        "MB": to.megabytes(),
        "queries": (names.queries - queries) / seconds,
        "sockets": (len(names.peers) - sockets) / seconds,
        "checks": (await to.statistic(checks) - checked) / seconds,
        "cpu": (to.cpu_seconds() - cpu) / seconds,
    }


async def gateways(names: Names, pods: Pods, number: int) -> dict[str, Any]:
    """A gateway in front of *number* pods, started some times; then what it needs at rest."""
    bootstrap = shipped(number)
    size = len(json.dumps(bootstrap, indent=2))
    starts, rest = list[dict[str, float]](), dict[str, float]()
    async with pods.there(number):
        for left in reversed(range(STARTS)):
            dropped, asked = lost(), names.queries
            async with envoy(names, bootstrap) as gateway:
                start = await started(gateway, number)
                losses = {"queries": names.queries - asked, "lost": lost() - dropped}
                starts.append({**start, **losses})
                if not left:
                    rest = await at_rest(names, gateway)
    return {"configuration": size, "starts": starts, "rest": rest}


async def measured() -> dict[str, Any]:
    """All figures of one run."""
    began, names = time.monotonic(), Names()
    pods = Pods(names)
    figures: dict[str, Any] = {"rings": {}, "gateways": {}}
    with names.served():
        for number in RINGS:
            with progress.step(f"{len(PROJECTS):,} projects, {number:,} pods"):
                figures["rings"][str(number)] = await distributed(names, pods, number)
        for number in GATEWAYS:
            with progress.step(f"a gateway at rest, {number:,} pods"):
                figures["gateways"][str(number)] = await gateways(names, pods, number)
    return {
        **circumstances(),
        "minutes": (time.monotonic() - began) / 60,
        "projects": len(PROJECTS),
        "rest": _REST,
        **figures,
    }


def main() -> None:
    """Measure, and write the figures and the page; or the page alone, from those that there are."""
    parser = argparse.ArgumentParser(prog="python -m bench.ring")
    parser.add_argument("--page", action="store_true")
    if not parser.parse_args().page:
        RAW.write_text(json.dumps(asyncio.run(measured()), indent=1) + "\n")
    PAGE.write_text(scale.page(json.loads(RAW.read_text())))
    print(PAGE.read_text(), file=sys.stderr)


if __name__ == "__main__":
    main()
