"""What Envoy's settings give: gateways with one of them changed, in front of one buildkitd.

They run as processes of the node's network: each has the same way to clients and buildkitd.
"""

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi_buildkit import Role, _envoy, _xds

from bench import installations
from bench.installations import CLIENT, Installation
from bench.order import rotated
from bench.workshop import Workshop, buildctl, large, small
from lab import LabError, client, progress
from lab.network import ADDRESS
from lab.node import until

DIRECT = "no gateway"
_FIRST_PORT = 21000
_SMALL_BUILDS = 8
_MIB = 2**20
_START = 10.0  # seconds
_PORT = 1234

Bootstrap = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A change to the gateway."""

    change: Callable[[Bootstrap], None] = lambda _: None
    arguments: tuple[str, ...] = ()
    """Of Envoy's command line."""


def _windows(size: int) -> Setting:
    def change(bootstrap: Bootstrap) -> None:
        for options in (_manager(bootstrap)["http2_protocol_options"], _upstream_http2(bootstrap)):
            options["initial_stream_window_size"] = size
            options["initial_connection_window_size"] = size

    return Setting(change)


def _buffers(size: int) -> Setting:
    def change(bootstrap: Bootstrap) -> None:
        for part in (_listener(bootstrap), _cluster(bootstrap)):
            part["per_connection_buffer_limit_bytes"] = size

    return Setting(change)


def _tls_1_2(bootstrap: Bootstrap) -> None:
    tls = _cluster(bootstrap)["transport_socket"]["typed_config"]["common_tls_context"]
    tls["tls_params"]["tls_maximum_protocol_version"] = "TLSv1_2"


def _no_retries(bootstrap: Bootstrap) -> None:
    (host,) = _manager(bootstrap)["route_config"]["virtual_hosts"]
    for route in host["routes"]:
        route["route"].pop("retry_policy", None)


SETTINGS = {
    "as it is": Setting(),
    "TLS 1.2 towards buildkitd": Setting(_tls_1_2),
    "HTTP/2 windows of 64 KiB": _windows(_MIB // 16),
    "HTTP/2 windows of 1 MiB": _windows(_MIB),
    "buffers of 64 KiB": _buffers(_MIB // 16),
    "buffers of 4 MiB": _buffers(4 * _MIB),
    "one worker thread": Setting(arguments=("--concurrency", "1")),
    "no retries, so nothing is held": Setting(_no_retries),
}


def measure(of: Workshop, rounds: int) -> dict[str, dict[str, list[float]]]:
    """The seconds of both builds with each setting, after one round that is not counted."""
    found: dict[str, dict[str, list[float]]] = {}
    name = of.name("tuning")
    with ExitStack() as ends, progress.step("Envoy's settings") as step:
        buildkitd = ends.enter_context(installations.upstream(of, name))
        ways = {DIRECT: buildkitd.connection}
        for number, (setting, changed) in enumerate(SETTINGS.items()):
            port = _FIRST_PORT + number
            ways[setting] = ends.enter_context(_gateway(of, buildkitd, changed, port))
        for number in range(rounds + 1):
            step.update(f"round {number} of {rounds}")
            for title, build, times in (
                ("small build", small, _SMALL_BUILDS),
                ("600 MB", large, 1),
            ):
                for setting in rotated([*ways], number) * times:
                    seconds = of.seconds(*buildctl(ways[setting], build(of)))
                    if number:
                        found.setdefault(title, {}).setdefault(setting, []).append(seconds)
    return found


@contextmanager
def _gateway(
    of: Workshop, buildkitd: Installation, setting: Setting, port: int
) -> Iterator[tuple[str, ...]]:
    """An Envoy in front of the pod; the start of buildctl's command line for it."""
    directory = of.directory / str(port)
    certificates = of.directory / buildkitd.builder
    bootstrap = _bootstrap(_address(of, buildkitd), port)
    setting.change(bootstrap)
    config = _write(directory, certificates, bootstrap)
    envoy = str(of.lab.node.at.tools / "envoy")
    arguments = ("--config-path", str(config), "--disable-hot-restart", "--log-level", "error")
    with subprocess.Popen(of.lab.node.inside(envoy, *arguments, *setting.arguments)) as process:
        try:
            refused = LabError(f"Envoy does not listen with {config}")
            until(lambda: _listens(port), _START, lambda: refused)
            yield tuple(client.buildctl(f"{ADDRESS}:{port}", certificates))
        finally:
            process.terminate()


def _bootstrap(address: str, port: int) -> Bootstrap:
    bootstrap = _envoy.bootstrap(
        _envoy.Protocol.HTTP2,
        _envoy.Upstream(address, _PORT),
        _envoy.Downstream(hold=600, keepalive=30),
    )
    del bootstrap["admin"]
    resources = bootstrap["static_resources"]
    others = ("health", "builds")
    resources["listeners"] = [one for one in resources["listeners"] if one["name"] not in others]
    _listener(bootstrap)["address"]["socket_address"]["port_value"] = port
    return bootstrap


def _write(directory: Path, certificates: Path, bootstrap: Bootstrap) -> Path:
    """Write all that Envoy reads, where a pod has it mounted, below a directory."""
    documents = _xds.documents([_xds.Client(CLIENT, Role.BUILDER)], ADDRESS)
    for mount, cert, key in (
        (_xds.SERVER_CERTIFICATES, "daemon.pem", "daemon-key.pem"),
        (_xds.UPSTREAM_CERTIFICATES, "cert.pem", "key.pem"),
    ):
        (directory / mount[1:]).mkdir(parents=True)
        for source, file in (("ca.pem", "ca.pem"), (cert, "cert.pem"), (key, "key.pem")):
            shutil.copy(certificates / source, directory / mount[1:] / file)
    (directory / _xds.DIRECTORY[1:]).mkdir(parents=True)
    for file, document in documents.items():
        (directory / _xds.DIRECTORY[1:] / file).write_text(_below(directory, document))
    config = directory / "envoy.json"
    config.write_text(_below(directory, bootstrap))
    return config


def _below(directory: Path, document: dict[str, Any]) -> str:
    text = json.dumps(document)
    for mount in (_xds.SERVER_CERTIFICATES, _xds.UPSTREAM_CERTIFICATES, _xds.DIRECTORY):
        text = text.replace(f'"{mount}', f'"{directory}{mount}')
    return text


def _address(of: Workshop, buildkitd: Installation) -> str:
    pods = ("get", "pods", "--selector=app=buildkitd", "--output=jsonpath={.items[*].status.podIP}")
    return of.kubectl(buildkitd.namespace, *pods)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0


def _listener(bootstrap: Bootstrap) -> dict[str, Any]:
    listeners = bootstrap["static_resources"]["listeners"]
    return next(one for one in listeners if one["name"] == "clients")


def _manager(bootstrap: Bootstrap) -> dict[str, Any]:
    (chain,) = _listener(bootstrap)["filter_chains"]
    return chain["filters"][0]["typed_config"]


def _cluster(bootstrap: Bootstrap) -> dict[str, Any]:
    clusters = bootstrap["static_resources"]["clusters"]
    return next(one for one in clusters if one["name"] == "buildkitd")


def _upstream_http2(bootstrap: Bootstrap) -> dict[str, Any]:
    (options,) = _cluster(bootstrap)["typed_extension_protocol_options"].values()
    return options["explicit_http_config"]["http2_protocol_options"]
