"""Autoscaler: what KEDA is told to watch, and to scale."""

from typing import Any

import pytest
from pulumi_buildkit import Autoscaler, Gateway, _envoy

from tests.contract.workloads import make
from tests.recording import Recording, record

GATEWAY = "buildkit-gateway"


def autoscaler(**args: Any) -> Recording:
    given: Any = {"namespace": "build", "workload": "statefulset/a", "gateway": GATEWAY, **args}
    return record(lambda: Autoscaler("scaler", given))


def scaled(**args: Any) -> dict[str, Any]:
    return autoscaler(**args).one("ScaledObject").inputs["spec"]


def test_it_goes_from_none_to_one_by_default() -> None:
    spec = scaled()
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 1)
    assert spec["cooldownPeriod"] == spec["initialCooldownPeriod"] == 900


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_it_scales_what_a_workload_says_of_itself(kind: str) -> None:
    made = make(kind, autoscaled=True)
    target = scaled(workload=made.outputs["workload"])["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": kind, "name": made.object.name}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_scaled_workload_begins_with_one_pod_and_leaves_the_number_alone(kind: str) -> None:
    made = make(kind, autoscaled=True, replicas=3)
    assert "replicas" not in made.object.inputs["spec"]
    assert [*made.object.request.ignoreChanges] == ["spec.replicas"]
    assert not make(kind).object.request.ignoreChanges


def test_every_pod_that_may_come_has_its_claim() -> None:
    assert len(make("StatefulSet", autoscaled=True, replicas=3).claims) == 3


def test_the_pods_of_the_gateway_are_asked_each_and_also_while_they_drain() -> None:
    made = autoscaler()
    service = made.one("Service").inputs["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    for trigger in made.one("ScaledObject").inputs["spec"]["triggers"]:
        metadata = trigger["metadata"]
        assert metadata["url"] == f"http://scaler.build.svc:{_envoy.METRICS_PORT}/builds"
        assert metadata["aggregateFromKubeServiceEndpoints"] == "true"
        assert metadata["aggregationType"] == "sum"


def test_the_service_leads_to_the_gateway_s_pods() -> None:
    of_the_gateway = record(
        lambda: Gateway(
            GATEWAY,
            {
                "namespace": "build",
                "upstream_host": "buildkitd.build.svc",
                "upstream_secret": "a",
                "server_secret": "b",
                "clients": {"dev": {}},
            },
        )
    ).one("Deployment")
    labels = of_the_gateway.inputs["spec"]["template"]["metadata"]["labels"]
    assert autoscaler().one("Service").inputs["spec"]["selector"].items() <= labels.items()


def test_what_waits_wakes_one_and_says_nothing_of_more() -> None:
    waiting, builds = scaled(builds=3)["triggers"]
    for trigger in (waiting, builds):
        assert trigger["metadata"]["activationTargetValue"] == "0"
    assert builds["metadata"]["targetValue"] == "3"
    assert float(waiting["metadata"]["targetValue"]) > 1e6


def test_a_number_that_is_fixed_again_comes_back() -> None:
    """A workload whose number is fixed again would stay where KEDA left it."""
    assert scaled()["advanced"]["restoreToOriginalReplicaCount"] is True
