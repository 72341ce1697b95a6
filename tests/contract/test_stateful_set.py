"""BuildkitStatefulSet: pods that keep a name and a cache each."""

from typing import Any

from pulumi_buildkit import Security

from tests.contract.workloads import CLAIM, EMPTY_DIR, NO_PORT, VARIANTS, make


def spec(**args: Any) -> dict[str, Any]:
    return make("StatefulSet", **args).object.inputs["spec"]


def test_there_is_one_daemon_by_default() -> None:
    assert spec()["replicas"] == 1


def test_the_pods_are_called_as_kubernetes_calls_them() -> None:
    made = make("StatefulSet", replicas=3, **NO_PORT)
    assert made.outputs["pods"] == ["buildkitd-0", "buildkitd-1", "buildkitd-2"]


def test_all_pods_start_at_once() -> None:
    assert spec()["podManagementPolicy"] == "Parallel"


def test_the_pods_names_are_in_the_dns_even_without_a_port() -> None:
    made = make("StatefulSet", **NO_PORT)
    service = made.recording.one("Service").inputs
    assert service["metadata"]["name"] == made.object.inputs["spec"]["serviceName"]
    assert service["spec"]["clusterIP"] == "None"
    labels = made.template["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_the_service_that_the_gateway_dials_is_another_one() -> None:
    assert spec()["serviceName"] != make("StatefulSet").outputs["host"].split(".")[0]


@VARIANTS
def test_kubernetes_finds_the_claims_that_are_there(security: Security) -> None:
    made = make("StatefulSet", replicas=2, daemon={"security": security})
    (template,) = made.object.inputs["spec"]["volumeClaimTemplates"]
    expected = [f"{template['metadata']['name']}-{pod}" for pod in made.outputs["pods"]]
    assert [claim.inputs["metadata"]["name"] for claim in made.claims] == expected


def test_the_claims_are_there_before_kubernetes_would_make_them() -> None:
    made = make("StatefulSet", replicas=2)
    urns = {claim.urn for claim in made.claims}
    assert urns <= {*made.object.request.dependencies}


def test_no_size_and_no_class_is_in_what_can_t_change() -> None:
    templates = [
        spec(volume={**CLAIM, **said})["volumeClaimTemplates"]
        for said in ({}, {"size": "1Ti"}, {"storage_class": "ssd"}, {"protect": False})
    ]
    assert all(template == templates[0] for template in templates)


def test_fewer_pods_need_the_claims_of_the_others_no_more() -> None:
    three, two = (make("StatefulSet", replicas=replicas) for replicas in (3, 2))
    gone = {c.name for c in three.claims} - {c.name for c in two.claims}
    assert gone == {"rootless-cache-buildkitd-2"}


def test_without_claims_kubernetes_makes_none() -> None:
    made = make("StatefulSet", volume=EMPTY_DIR)
    assert "volumeClaimTemplates" not in made.object.inputs["spec"]
    assert not made.claims
