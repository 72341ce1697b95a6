"""What each stack file among the examples is for."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from settings import Settings
from tests.recording import Recording, record_stack
from tests.stack_files import STACKS, configuration

AWS = "service.beta.kubernetes.io/aws-load-balancer"
NLB_IDLE_TIMEOUT = 350
"""Seconds without a byte after which a network load balancer forgets a connection."""


@pytest.fixture(scope="module")
def stacks() -> dict[str, Recording]:
    return {name: record_stack(file) for name, file in STACKS.items()}


def pods(made: Recording) -> Iterator[dict[str, Any]]:
    """The specifications of all pods."""
    for kind in ("StatefulSet", "Deployment", "DaemonSet", "Job"):
        yield from (one.inputs["spec"]["template"]["spec"] for one in made.of(kind))


def containers(made: Recording) -> Iterator[dict[str, Any]]:
    return (container for pod in pods(made) for container in pod["containers"])


def the_pod(made: Recording, kind: str = "StatefulSet") -> dict[str, Any]:
    return made.one(kind).inputs["spec"]["template"]["spec"]


def service(made: Recording) -> dict[str, Any]:
    return made.one("Service", "buildkit-gateway").inputs


@pytest.mark.parametrize("name", STACKS)
def test_it_has_keys_of_a_stack_only_and_comes_to_an_end(
    stacks: dict[str, Recording], name: str
) -> None:
    keys = yaml.safe_load(STACKS[name].read_text())
    assert {*keys} == {"config"}
    # The program itself refuses others of its own, and sees nothing of those of another project.
    known = Settings.keys()
    assert {*keys["config"]} <= {f"buildkit:{key}" for key in known}
    said = stacks[name].outputs_of("Stack").values
    assert {*said["clients"]} == {*configuration(STACKS[name])["clients"]}
    assert said["endpoint"].endswith(f"{configuration(STACKS[name])['gateway']['host']}:1234")


def test_a_small_team_has_one_buildkit_whose_cache_stays(stacks: dict[str, Recording]) -> None:
    made = stacks["small-team"]
    assert made.one("StatefulSet").inputs["spec"]["replicas"] == 1
    claim = made.one("PersistentVolumeClaim").inputs["spec"]
    assert claim["resources"]["requests"]["storage"] == "100Gi"
    assert "storageClassName" not in claim
    assert service(made)["spec"]["loadBalancerSourceRanges"]
    assert made.one("Secret", "buildkit-ci-certs").inputs["metadata"]["namespace"] == "runners"


@pytest.mark.parametrize("name", ["small-team", "large-team"])
def test_where_several_build_no_step_sees_another_build(
    stacks: dict[str, Recording], name: str
) -> None:
    assert len(configuration(STACKS[name])["clients"]) > 1
    assert the_pod(stacks[name])["hostUsers"] is False


def test_a_large_team_has_a_farm_by_host_name_that_grows_and_shrinks(
    stacks: dict[str, Recording],
) -> None:
    made = stacks["large-team"]
    assert made.outputs_of("Stack").values["endpoint"] == "PROJECT.builds.example.com:1234"
    scaled = made.one("ScaledObject").inputs["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (3, 12)
    claims = [one.inputs["spec"]["storageClassName"] for one in made.of("PersistentVolumeClaim")]
    assert claims == ["fast"] * 12
    pod = the_pod(made)
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "example.com/pool": "builds"}
    assert pod["terminationGracePeriodSeconds"] > 3600
    (buildkitd,) = pod["containers"]
    assert buildkitd["resources"]["limits"] == {"cpu": "16", "memory": "32Gi"}


def test_on_bottlerocket_user_namespaces_are_allowed_before_buildkitd_starts(
    stacks: dict[str, Recording],
) -> None:
    made = stacks["bottlerocket"]
    (command,) = (container["command"] for container in the_pod(made, "DaemonSet")["containers"])
    assert "sysctl -w user.max_user_namespaces=63359" in command[-1]
    assert made.one("DaemonSet").urn in made.one("BuildkitStatefulSet").request.dependencies
    claim = made.one("PersistentVolumeClaim").inputs["spec"]
    assert claim["storageClassName"] == "gp3"


def test_gke_autopilot_has_nothing_to_refuse(stacks: dict[str, Recording]) -> None:
    made = stacks["gke-autopilot"]
    for pod in pods(made):
        assert pod.get("hostUsers", True)
        assert not any("hostPath" in volume for volume in pod["volumes"])
    for container in containers(made):
        context = container["securityContext"]
        assert not context.get("privileged")
        # The Pod Security Standard baseline, and Autopilot after it, lets them be added.
        assert {*context.get("capabilities", {}).get("add", [])} <= {"SETUID", "SETGID"}
    (buildkitd,) = the_pod(made)["containers"]
    for profile in ("seccompProfile", "appArmorProfile"):
        assert buildkitd["securityContext"][profile] == {"type": "Unconfined"}
    # A setuid helper makes its user namespace.
    assert buildkitd["securityContext"].get("allowPrivilegeEscalation", True)


def test_on_gke_autopilot_nothing_is_paid_for_that_was_not_asked_for(
    stacks: dict[str, Recording],
) -> None:
    made = stacks["gke-autopilot"]
    for container in containers(made):
        asked = {resource for kind in container["resources"].values() for resource in kind}
        assert asked == {"cpu", "memory"}
    # More than 10 GiB of the node's disk are not to be had.
    mounted = {"name": "rootless-cache", "mountPath": "/home/user/.local/share/buildkit"}
    (buildkitd,) = the_pod(made)["containers"]
    assert mounted in buildkitd["volumeMounts"]
    assert [*made.of("PersistentVolumeClaim")]


def attributes(made: Recording) -> dict[str, str]:
    """What the load balancer is told of its targets."""
    told = service(made)["metadata"]["annotations"][f"{AWS}-target-group-attributes"]
    return dict(attribute.split("=") for attribute in told.split(","))


def test_the_nlb_is_the_controller_s_and_leads_to_the_pods(stacks: dict[str, Recording]) -> None:
    made = stacks["eks-nlb"]
    assert service(made)["spec"]["loadBalancerClass"] == "service.k8s.aws/nlb"
    annotations = service(made)["metadata"]["annotations"]
    assert annotations[f"{AWS}-scheme"] == "internal"
    assert annotations[f"{AWS}-nlb-target-type"] == "ip"
    assert all(isinstance(value, str) for value in annotations.values())


def test_gateway_and_nlb_agree_on_the_proxy_protocol(stacks: dict[str, Recording]) -> None:
    made = stacks["eks-nlb"]
    assert attributes(made)["proxy_protocol_v2.enabled"] == "true"
    assert "proxy_protocol" in envoy(made)


def test_no_connection_is_silent_until_the_nlb_forgets_it(stacks: dict[str, Recording]) -> None:
    (interval,) = (
        int(each["connection_keepalive"]["interval"].removesuffix("s"))
        for each in values(json.loads(envoy(stacks["eks-nlb"])), "http2_protocol_options")
        if "connection_keepalive" in each
    )
    assert interval < NLB_IDLE_TIMEOUT / 2


def test_the_nlb_lets_the_builds_of_a_gateway_pod_that_goes_end(
    stacks: dict[str, Recording],
) -> None:
    told = attributes(stacks["eks-nlb"])
    drain = str(configuration(STACKS["eks-nlb"])["drain"]["timeout"])
    assert told["deregistration_delay.timeout_seconds"] == drain
    assert told["target_health_state.unhealthy.connection_termination.enabled"] == "false"
    assert told["target_health_state.unhealthy.draining_interval_seconds"] == drain


def envoy(made: Recording) -> str:
    return made.one("ConfigMap", "buildkit-gateway-bootstrap").inputs["data"]["envoy.json"]


def values(document: Any, key: str) -> Iterator[Any]:
    """All values of a *key* anywhere in a *document*."""
    if isinstance(document, dict):
        yield from (value for name, value in document.items() if name == key)
    if isinstance(document, dict | list):
        inner = document.values() if isinstance(document, dict) else document
        for value in inner:
            yield from values(value, key)
