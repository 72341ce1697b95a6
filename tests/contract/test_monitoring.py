"""Monitoring: what the Prometheus operator and Grafana read."""

import json
from typing import Any

import pytest
from pulumi_buildkit import Gateway, Monitoring

from tests.contract.workloads import make
from tests.recording import Recording, Resource, record

GATEWAY = "buildkit-gateway"
KINDS = {"pod_monitor": "PodMonitor", "rules": "PrometheusRule", "dashboard": "ConfigMap"}


def monitoring(**args: Any) -> Recording:
    given: Any = {"namespace": "build", "gateway": GATEWAY, "workload": "buildkitd", **args}
    return record(lambda: Monitoring("watched", given))


def gateway(**args: Any) -> Resource:
    given: Any = {
        "namespace": "build",
        "upstream_host": "buildkitd.build.svc",
        "upstream_secret": "a",
        "server_secret": "b",
        "clients": {"dev": {}},
        **args,
    }
    return record(lambda: Gateway(GATEWAY, given)).one("Deployment")


@pytest.mark.parametrize("asked", KINDS)
def test_there_is_what_is_asked_for_and_no_more(asked: str) -> None:
    made = monitoring(**{asked: True}).resources
    assert [r.type.rpartition(":")[2] for r in made] == ["Monitoring", KINDS[asked]]


def test_nothing_is_made_by_default() -> None:
    assert len(monitoring().resources) == 1


@pytest.mark.parametrize("of", ["gateway", "buildkitd"])
def test_the_pod_monitor_finds_the_pods_and_their_port(of: str) -> None:
    deployment = gateway() if of == "gateway" else make("Deployment", daemon={"metrics": {}}).object
    template = deployment.inputs["spec"]["template"]
    spec = monitoring(pod_monitor=True).one("PodMonitor").inputs["spec"]
    [pods] = spec["selector"]["matchExpressions"]
    assert pods["operator"] == "In"
    assert template["metadata"]["labels"][pods["key"]] in pods["values"]
    [asked] = spec["podMetricsEndpoints"]
    containers = [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]
    assert asked["port"] in {port["name"] for c in containers for port in c.get("ports", [])}


def test_a_pod_that_a_pod_monitor_finds_needs_no_annotation() -> None:
    def annotations(scraped: bool) -> set[str]:
        return {*gateway(scraped=scraped).inputs["spec"]["template"]["metadata"]["annotations"]}

    scrape = {f"prometheus.io/{name}" for name in ("scrape", "port", "path")}
    assert annotations(True) - annotations(False) == scrape


def test_alerts_are_of_the_namespace_alone() -> None:
    [group] = monitoring(rules=True).one("PrometheusRule").inputs["spec"]["groups"]
    assert all('namespace="build"' in rule["expr"] for rule in group["rules"])


def test_grafana_s_sidecar_finds_the_dashboard() -> None:
    config_map = monitoring(dashboard=True).one("ConfigMap").inputs
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    [(file, text)] = config_map["data"].items()
    assert file.endswith(".json")
    assert json.loads(text)["title"] == "BuildKit"


def test_its_labels_are_those_that_a_prometheus_selects_by() -> None:
    every = dict.fromkeys(KINDS, True)
    made = monitoring(**every, labels={"release": "prometheus", "app": "mine"})
    for kind in KINDS.values():
        labels = made.one(kind).inputs["metadata"]["labels"]
        assert labels["release"] == "prometheus"
        assert labels["app"] == "watched"
