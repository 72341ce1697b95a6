"""A real Prometheus, in the lab's network: it asks the pods of a PodMonitor, and the kubelet.

It is built without the discovery of Kubernetes' objects, so what that would find is in a file.
"""

import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import LabError, build
from lab.network import ADDRESS, API, NAME
from lab.node import http_ok, until
from tests.lab.conftest import Installation

INTERVAL = 1  # seconds from one look at everything to the next
_STARTS = 30.0  # seconds; one is usual
_SOON = 60.0  # seconds in which what is there is seen; the kubelet measures every 15 or so


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now: labels in `metric`, and `value`."""
        return self._get("query", query=expression)["result"]

    def wait(self, expression: str, seconds: float = _SOON) -> list[dict[str, Any]]:
        """The series of an expression, once it has some."""
        until(
            lambda: bool(self.query(expression)),
            seconds,
            lambda: LabError(f"Prometheus has nothing for {expression}"),
        )
        return self.query(expression)

    def firing(self) -> dict[str, dict[str, str]]:
        """The labels and annotations of the alerts that fire, by their names."""
        return {
            alert["labels"]["alertname"]: {**alert["labels"], **alert["annotations"]}
            for alert in self._get("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def unhealthy(self) -> list[str]:
        """What it finds wrong with its rules."""
        groups = self._get("rules")["groups"]
        return [
            f"{rule['name']}: {rule['lastError']}"
            for group in groups
            for rule in group["rules"]
            if rule["health"] == "err"
        ]

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as response:
            return json.load(response)["data"]


@contextmanager
def prometheus(
    installation: Installation,
    directory: Path,
    groups: list[dict[str, Any]],
    further: dict[str, str],
) -> Iterator[Prometheus]:
    """Have one that looks at the installation, with these groups of rules and *further* targets."""
    lab = installation.lab
    address = f"{ADDRESS}:{lab.node_port - 20_000}"
    files = {
        "rules": {"groups": groups},
        "pods": _pods(installation),
        "prometheus": _configuration(installation, directory, further),
    }
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    command = lab.node.inside(
        str(build.tools(build.PROMETHEUS) / "prometheus"),
        f"--config.file={directory / 'prometheus.json'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
    )
    log = directory / "log"
    with log.open("w") as output, _discovery(installation, directory / "pods.json"):
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            _wait(process, f"http://{address}/-/ready", log)
            yield Prometheus(f"http://{address}")
        finally:
            process.kill()
            process.wait()


@contextmanager
def _discovery(installation: Installation, file: Path) -> Iterator[None]:
    """Keep the file of the pods as it has to be."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(INTERVAL):
            made = file.with_suffix(".new")
            made.write_text(json.dumps(_pods(installation)))
            made.rename(file)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _pods(installation: Installation) -> list[dict[str, Any]]:
    """The pods that the namespace's PodMonitor means, as the operator has Prometheus find them."""
    monitor, *pods = (
        item
        for kind in ("podmonitors", "pods")
        for item in json.loads(installation.kubectl("get", kind, "--output=json"))["items"]
    )
    [labelled] = monitor["spec"]["selector"]["matchExpressions"]
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    return [
        {
            "targets": [f"{pod['status']['podIP']}:{port['containerPort']}"],
            "labels": {
                "__metrics_path__": endpoint["path"],
                "namespace": pod["metadata"]["namespace"],
                "pod": pod["metadata"]["name"],
                "container": container["name"],
            },
        }
        for pod in pods
        if "podIP" in pod["status"]
        and pod["metadata"]["labels"].get(labelled["key"]) in labelled["values"]
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port["name"] == endpoint["port"]
    ]


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _STARTS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            if http_ok(url):
                return
        time.sleep(0.1)
    raise LabError(f"Prometheus does not start: {log.read_text()}")


def _configuration(
    installation: Installation, directory: Path, further: dict[str, str]
) -> dict[str, Any]:
    pki = installation.lab.node.at.pki
    tls = {
        "ca_file": str(pki / "ca.crt"),
        "cert_file": str(pki / "admin.crt"),
        "key_file": str(pki / "admin.key"),
    }
    pods = {
        "job_name": "pods",
        "file_sd_configs": [{"files": [str(directory / "pods.json")]}],
    }
    kubelet = [
        {
            "job_name": f"kubelet{path}",
            "metrics_path": f"/api/v1/nodes/{NAME}/proxy/metrics{path}",
            "scheme": "https",
            "tls_config": tls,
            "static_configs": [{"targets": [API.removeprefix("https://")]}],
            # What has a time of its own is not seen to have gone for five minutes.
            "honor_timestamps": False,
        }
        # Of the lab's containers cAdvisor knows no names; the kubelet says the same elsewhere.
        for path in ("", "/cadvisor", "/resource")
    ]
    others = [
        {"job_name": name, "static_configs": [{"targets": [target]}], "honor_labels": True}
        for name, target in further.items()
    ]
    return {
        "runtime": {"log_level": "warn"},
        "global": {
            "scrape_interval": f"{INTERVAL}s",
            "scrape_timeout": f"{INTERVAL}s",
            "evaluation_interval": f"{INTERVAL}s",
        },
        "rule_files": [str(directory / "rules.json")],
        "scrape_configs": [pods, *kubelet, *others],
    }
