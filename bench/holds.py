"""How long a build waits while no buildkitd is there, before its client gives up."""

import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from bench.builds import Ways
from bench.installations import Installation, wait_until_ready
from bench.workshop import Workshop, buildctl, buildx, last_line, small
from lab import progress

_OVERTIME = 180.0  # seconds over the gateways' hold that a client is waited for


def measure(of: Workshop, ways: Ways, hold: int) -> dict[str, dict[str, Any]]:
    """The seconds until each client fails, and its last words; all at once, since all wait."""
    with progress.step("builds without a buildkitd"):
        for way in ways.values():
            _scale_to_zero(of, way)
        try:
            return _held(of, ways, hold + _OVERTIME)
        finally:
            for way in ways.values():
                _scale_to_one(of, way)


def _held(of: Workshop, ways: Ways, patience: float) -> dict[str, dict[str, Any]]:
    held: dict[str, dict[str, Future[dict[str, Any]]]] = {}
    with ThreadPoolExecutor(2 * len(ways)) as pool:
        for name, way in ways.items():
            commands = {"buildx": buildx(way.builder, small(of))}
            if way.connection:
                commands["buildctl"] = buildctl(way.connection, small(of))
            held[name] = {
                client: pool.submit(_end, of, c, patience) for client, c in commands.items()
            }
        return {
            name: {client: future.result() for client, future in clients.items()}
            for name, clients in held.items()
        }


def _end(of: Workshop, command: list[str], patience: float) -> dict[str, Any]:
    started = time.monotonic()
    try:
        said = last_line(of.run(*command, timeout=patience))
    except subprocess.TimeoutExpired:
        said = "still waiting"
    return {"seconds": time.monotonic() - started, "said": said}


def _scale_to_zero(of: Workshop, way: Installation) -> None:
    deployment = f"deployment/{way.deployment}"
    of.kubectl(way.namespace, "scale", deployment, "--replicas=0")
    labels = (
        "--output=go-template={{range $k, $v := .spec.selector.matchLabels}}{{$k}}={{$v}},{{end}}"
    )
    selector = of.kubectl(way.namespace, "get", deployment, labels).rstrip(",")
    gone = ("--for=delete", "--timeout=180s")
    of.kubectl(way.namespace, "wait", "pods", f"--selector={selector}", *gone)


def _scale_to_one(of: Workshop, way: Installation) -> None:
    of.kubectl(way.namespace, "scale", f"deployment/{way.deployment}", "--replicas=1")
    wait_until_ready(of, way.namespace, way.deployment)
