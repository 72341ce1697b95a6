"""What a real Prometheus sees of the lab: the dashboard has data, and each alert its fault."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab import LabError
from lab.network import NAME
from lab.node import until
from tests.lab import operator_kinds
from tests.lab.building import BEGUN, BUILDCTL, build, greets, takes
from tests.lab.conftest import Installation, configuring
from tests.lab.containers import buildkitd_is_killed
from tests.lab.kube_state_metrics import kube_state_metrics
from tests.lab.prometheus import Prometheus, prometheus

MONITORING = {"podMonitor": True, "rules": True, "dashboard": True, "buildkitd": True}
PODS = ("buildkitd-0", "buildkitd-1")
HOLD = 25  # seconds; a hold of more than 10 is near its limit then
DRAIN = 3  # seconds
SIZE = 1024  # MiB
SOON = 60.0  # seconds in which an alert fires, or a panel has data
MEASURED = 150.0  # seconds; the kubelet looks at volumes once a minute
OF_OBJECTS = "kube_"
"""Metrics of kube-state-metrics, which takes minutes to build: in full only."""


class Watched(NamedTuple):
    """The stack, and the Prometheus that looks at it."""

    installation: Installation
    prometheus: Prometheus
    queries: dict[str, str]
    """Those of the dashboard, by the titles of their panels."""

    def fires(self, *names: str, within: float = SOON) -> dict[str, dict[str, str]]:
        """Wait until all these alerts fire."""
        until(
            lambda: {*names} <= self.prometheus.firing().keys(),
            within,
            lambda: LabError(f"{[*self.prometheus.firing()]} fire, and not all of {names}"),
        )
        return self.prometheus.firing()


@pytest.fixture(scope="module")
def volume(installation: Installation) -> Iterator[Path]:
    """A file system of its own, with the volumes of a storage class of its name."""
    node = installation.lab.node
    name = f"monitoring-{installation.lab.name}"
    path = Path("/run") / name
    paths = [path / pod for pod in PODS]
    mount = f"mkdir -p {path} && mount -t tmpfs -o size={SIZE}m {name} {path}"
    make = f"mkdir --mode=1777 {' '.join(map(str, paths))}"
    subprocess.run(node.inside("sh", "-c", f"{mount} && {make}"), check=True)
    objects = [_storage_class(name), *(_local_volume(name, path) for path in paths)]
    made = {"apiVersion": "v1", "kind": "List", "items": objects}
    node.kubectl("create", "--filename=-", stdin=json.dumps(made))
    yield path
    node.kubectl("delete", "--filename=-", stdin=json.dumps(made))
    subprocess.run(node.inside("umount", "--lazy", str(path)), check=True)
    subprocess.run(node.inside("rmdir", str(path)), check=True)


def _storage_class(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _local_volume(storage_class: str, path: Path) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{storage_class}-{path.name}"},
        "spec": {
            "storageClassName": storage_class,
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": f"{SIZE}Mi"},
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


@pytest.fixture(scope="module")
def watched(
    installation: Installation,
    volume: Path,
    full: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    """A stack with all that there is to watch, as Prometheus and Grafana would read it."""
    operator_kinds.define(installation.lab.node)
    configured = configuring(installation.lab, tmp_path_factory.mktemp("watched"))
    stack = next(configured)(
        {
            "buildkit:mode": "statefulset",
            "buildkit:replicas": len(PODS),
            "buildkit:volume": {
                **{"kind": "claim", "storageClass": volume.name, "size": f"{SIZE}Mi"},
                "protect": False,
            },
            "buildkit:gateway": {"hold": HOLD},
            "buildkit:drain": {"timeout": DRAIN},
            "buildkit:certificates": {"validityHours": 240, "earlyRenewalHours": 24},
            "buildkit:monitoring": MONITORING,
        }
    )
    rules = _read(stack, "prometheusrules")["spec"]["groups"]
    directory = tmp_path_factory.mktemp("prometheus")
    with (
        _further_targets(stack, full) as further,
        prometheus(stack, directory, soon(rules), further) as running,
    ):
        yield Watched(stack, running, _queries(stack))
    next(configured, None)


@contextmanager
def _further_targets(stack: Installation, full: bool) -> Iterator[dict[str, str]]:
    if not full:
        yield {}
        return
    with kube_state_metrics(stack.lab) as address:
        yield {"kube-state-metrics": address}


def soon(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same alerts, which wait for nothing."""
    return [
        {
            **group,
            "rules": [
                {**rule, "for": "0s", "expr": rule["expr"].replace("[3m]", "[5s]")}
                for rule in group["rules"]
            ],
        }
        for group in groups
    ]


def _read(stack: Installation, kind: str) -> dict[str, Any]:
    (item,) = json.loads(stack.kubectl("get", kind, "--output=json"))["items"]
    return item


def _queries(stack: Installation) -> dict[str, str]:
    selected = ("--selector=grafana_dashboard=1", "--output=jsonpath={.items[0].data.*}")
    dashboard = json.loads(stack.kubectl("get", "configmaps", *selected))
    return {
        f"{panel['title']} {target['legendFormat']}": target["expr"].replace(
            "$namespace", stack.outputs["namespace"]
        )
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }


def fails(installation: Installation) -> None:
    with build(installation, BUILDCTL, "FROM scratch\nCOPY nothing /\n") as failing:
        failing.fails("not found")


def test_what_is_well_has_no_alert_and_a_certificate_of_ten_days_has_one(watched: Watched) -> None:
    with build(watched.installation, BUILDCTL, greets("watched")) as first:
        first.result("greeting")
    fired = watched.fires("BuildKitCertificateEnds")
    assert {*fired} == {"BuildKitCertificateEnds"}
    assert fired["BuildKitCertificateEnds"]["envoy_tls_certificate"] == "server"
    assert not watched.prometheus.unhealthy()


def test_what_is_buildkitd_s_own_is_seen(watched: Watched) -> None:
    watched.prometheus.wait('go_goroutines{container="metrics"}', SOON)


def test_an_alert_fires_when_a_buildkitd_is_killed_under_a_build(watched: Watched) -> None:
    installation = watched.installation
    with build(installation, BUILDCTL, takes(120)) as running:
        running.wait_for(BEGUN)
        buildkitd_is_killed(installation)
        running.fails(".")
    watched.fires("BuildKitBuildsLost")


def test_another_alert_fires_when_it_was_a_drain(watched: Watched) -> None:
    installation = watched.installation
    pods = [f"pod/{pod}" for pod in PODS]
    installation.kubectl("wait", "--for=condition=Ready", *pods, f"--timeout={SOON:.0f}s")
    with build(installation, BUILDCTL, takes(120)) as running:
        running.wait_for(BEGUN)
        installation.kubectl("scale", "statefulset/buildkitd", "--replicas=0")
        running.fails(".")
    assert "BuildKitBuildsLost" not in watched.fires("BuildKitDrainCutsBuilds")


def test_alerts_fire_while_builds_wait_when_one_did_in_vain_and_when_one_nearly_did(
    watched: Watched,
) -> None:
    installation = watched.installation
    with build(installation, BUILDCTL, greets("in vain")) as in_vain:
        watched.fires("BuildKitDown", within=HOLD)
        assert in_vain.goes_on(in_vain.submitted + HOLD / 2)
        with build(installation, BUILDCTL, greets("late")) as late:
            in_vain.fails("no buildkitd was ready")
            installation.kubectl("scale", "statefulset/buildkitd", "--replicas=1")
            late.result("greeting")
    watched.fires("BuildKitHoldsExpired", "BuildKitHoldsNearLimit")


def test_an_alert_fires_when_most_builds_fail(watched: Watched) -> None:
    for _ in range(5):
        fails(watched.installation)
    watched.fires("BuildKitBuildsFail")


def test_every_query_of_the_dashboard_has_data(watched: Watched, full: bool) -> None:
    asked = {
        title: query for title, query in watched.queries.items() if full or OF_OBJECTS not in query
    }
    assert len(asked) > 25
    for query in asked.values():
        watched.prometheus.wait(query, MEASURED)


def test_an_alert_fires_when_a_volume_is_nearly_full(
    watched: Watched, volume: Path, full: bool
) -> None:
    """In full it is filled; otherwise the alert's query has data all the same."""
    if full:
        fill = ("dd", "if=/dev/zero", f"of={volume / 'large'}", "bs=1M")
        filled = subprocess.run(watched.installation.lab.node.inside(*fill), capture_output=True)
        assert b"No space left" in filled.stderr
        watched.fires("BuildKitCacheFull", within=MEASURED)
    assert watched.prometheus.wait("kubelet_volume_stats_capacity_bytes", MEASURED)


def test_an_alert_fires_when_no_gateway_is_there(watched: Watched) -> None:
    watched.installation.kubectl("scale", "deployment/buildkit-gateway", "--replicas=0")
    watched.fires("BuildKitGatewayDown")
