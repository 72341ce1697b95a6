"""NetworkPolicies: who is let in by which configuration, and what builds reach."""

from typing import Any

import pytest
from pulumi_buildkit import NetworkPolicies, _envoy, _pod
from pulumi_buildkit._drain import READY_PORT

from tests.recording import Recording, record, record_program

JOB = {"job": {"files": {"Dockerfile": "FROM scratch\n"}}}
NO_GATEWAY = {"gateway": {"enabled": False}}
# What a stack's configuration says, by what comes of it.
GATEWAYS: dict[str, dict[str, Any]] = {
    "deployment": {},
    "tcp": {"gateway": {"host": "build.example.com", "protocol": "tcp"}},
    "statefulset": {"mode": "statefulset"},
    "farm": {"mode": "statefulset", "farm": {"replicas": {"min": 1, "max": 2}}},
    "pod": {"mode": "pod", "gateway": {"enabled": True}},
    "autoscaling": {"autoscaling": {"max": 2}},
}
NOBODY: dict[str, dict[str, Any]] = {
    "pod": {"mode": "pod"},
    "statefulset": {"mode": "statefulset", **NO_GATEWAY},
    "job": {"mode": "job", **JOB},
}
LISTENS: dict[str, dict[str, Any]] = {"deployment": NO_GATEWAY}
EVERY = {
    **{f"{mode}, gateway": keys for mode, keys in GATEWAYS.items()},
    **{f"{mode}, nobody comes": keys for mode, keys in NOBODY.items()},
    **{f"{mode}, listens": keys for mode, keys in LISTENS.items()},
}
WORKLOADS = ("Pod", "Deployment", "StatefulSet", "Job")
NUMBERS = {"port": _envoy.METRICS_PORT, "protocol": "TCP"}
CLIENTS = {"port": _envoy.PORT, "protocol": "TCP"}
NAMES = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
NAMES_OF_PODS = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        },
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}},
    ],
    "ports": [
        {"port": port, "protocol": protocol}
        for port in (53, 5353, 8053)
        for protocol in ("UDP", "TCP")
    ],
}
PODS: dict[str, Any] = {"namespaceSelector": {}}


def named(namespace: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


def policies(made: Recording) -> dict[str, dict[str, Any]]:
    """The policies, by the name of the component that makes their pods."""
    specs = [policy.inputs["spec"] for policy in made.of("NetworkPolicy")]
    return {spec["podSelector"]["matchLabels"]["app"]: spec for spec in specs}


def apps(made: Recording) -> dict[str, dict[str, Any]]:
    """The pods that stay and the Jobs', by their label."""
    found = [kind.inputs for name in WORKLOADS for kind in made.of(name)]
    pods = [inputs["spec"].get("template", inputs) for inputs in found]
    return {pod["metadata"]["labels"]["app"]: pod for pod in pods}


def egress(**args: Any) -> Any:
    given: Any = {"namespace": "build", "workload": "buildkitd", **args}
    made = record(lambda: NetworkPolicies("rules", given))
    spec = made.one("NetworkPolicy").inputs["spec"]
    assert ("Egress" in spec["policyTypes"]) is ("egress" in spec)
    return spec.get("egress")


def everywhere(but: list[str], but_of_v6: list[str]) -> list[dict[str, Any]]:
    excepts = {"0.0.0.0/0": but, "::/0": but_of_v6}
    return [
        {"ipBlock": {"cidr": cidr, **({"except": networks} if networks else {})}}
        for cidr, networks in excepts.items()
    ]


@pytest.mark.parametrize("keys", EVERY.values(), ids=EVERY)
def test_every_pod_that_builds_or_serves_is_under_a_policy(keys: dict[str, Any]) -> None:
    made = record_program(**keys)
    # The trial of a new buildkitd builds nothing.
    assert {*policies(made)} == {app for app in apps(made) if not app.endswith("-proof")}
    (workload,) = (r for name in WORKLOADS for r in made.of(f"Buildkit{name}"))
    before = {policy.urn for policy in made.of("NetworkPolicy")}
    assert before <= {*workload.request.dependencies}


@pytest.mark.parametrize("keys", GATEWAYS.values(), ids=GATEWAYS)
def test_only_the_gateway_reaches_buildkitd(keys: dict[str, Any]) -> None:
    made = record_program(**keys, networkPolicies={"sources": [{"namespace": "ci"}]})
    (rule,) = policies(made)["buildkitd"]["ingress"]
    gateway = {"podSelector": {"matchLabels": {"app": "buildkit-gateway"}}}
    ports = [{"port": port, "protocol": "TCP"} for port in (_pod.PORT, READY_PORT)]
    assert rule == {"from": [gateway], "ports": ports}
    assert {"buildkit-gateway", "buildkitd"} <= {*apps(made)}


@pytest.mark.parametrize("keys", NOBODY.values(), ids=NOBODY)
def test_nobody_reaches_a_pod_that_serves_nobody(keys: dict[str, Any]) -> None:
    (spec,) = policies(record_program(**keys)).values()
    assert spec["ingress"] == []
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_those_who_are_named_reach_a_buildkitd_that_listens_itself() -> None:
    sources = [{"network": "10.0.0.0/8"}]
    made = record_program(**LISTENS["deployment"], networkPolicies={"sources": sources})
    (spec,) = policies(made).values()
    (rule,) = spec["ingress"]
    assert rule["from"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]


def gateway(**keys: Any) -> list[dict[str, Any]]:
    """What the policy of the gateway lets in."""
    spec = policies(record_program(networkPolicies=keys))["buildkit-gateway"]
    assert spec["policyTypes"] == ["Ingress"]
    return spec["ingress"]


def test_everybody_reaches_the_gateway_s_two_ports_unless_told_otherwise() -> None:
    assert gateway() == [{"ports": [CLIENTS]}, {"ports": [NUMBERS]}]


def test_those_who_are_named_reach_what_they_are_named_for() -> None:
    sources = [
        {"network": "fd00::/8"},
        {"namespace": "ci"},
        {"namespace": "ci", "pods": {"app": "runner"}},
        {"pods": {"app": "mine"}},
    ]
    assert gateway(sources=sources, metricsNamespaces=["keda", "monitoring"]) == [
        {
            "from": [
                {"ipBlock": {"cidr": "fd00::/8"}},
                named("ci"),
                {**named("ci"), "podSelector": {"matchLabels": {"app": "runner"}}},
                {"podSelector": {"matchLabels": {"app": "mine"}}},
            ],
            "ports": [CLIENTS],
        },
        {"from": [named("keda"), named("monitoring")], "ports": [NUMBERS]},
    ]


def test_a_list_of_nobody_lets_nobody_in() -> None:
    """To Kubernetes, a rule with an empty list of peers lets everybody in."""
    assert gateway(sources=[], metricsNamespaces=[]) == []


def test_who_reads_metrics_reads_buildkitd_s_too_where_it_has_some() -> None:
    made = record_program(
        monitoring={"buildkitd": True}, networkPolicies={"metricsNamespaces": ["monitoring"]}
    )
    _, metrics = policies(made)["buildkitd"]["ingress"]
    assert metrics == {"from": [named("monitoring")], "ports": [NUMBERS]}
    beside = apps(made)["buildkitd"]["spec"]["initContainers"]
    ports = {port["containerPort"] for container in beside for port in container["ports"]}
    assert ports == {_envoy.METRICS_PORT}


def test_builds_reach_all_but_where_clouds_tell_credentials() -> None:
    metadata = ["169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32"]
    metadata_v6 = ["fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128"]
    rest = {"to": [*everywhere(metadata, metadata_v6), PODS]}
    assert egress() == [NAMES, rest]


def test_what_is_denied_is_denied_in_its_own_family_of_addresses() -> None:
    networks = everywhere(["10.0.0.0/8"], ["fd00::/8"])
    denied = ["10.0.0.0/8", "fd00::/8"]
    assert egress(denied_networks=denied) == [NAMES, {"to": [*networks, PODS]}]
    assert egress(denied_networks=denied, builds_reach_pods=False) == [
        NAMES,
        NAMES_OF_PODS,
        {"to": networks},
    ]


def test_builds_that_may_reach_nothing_reach_name_servers_only() -> None:
    """To Kubernetes, what is denied must be less than all, and no peers are all peers."""
    everything = ["0.0.0.0/0", "::/0"]
    assert egress(denied_networks=everything, builds_reach_pods=False) == [NAMES, NAMES_OF_PODS]
    assert egress(denied_networks=everything) == [NAMES, {"to": [PODS]}]
    assert egress(denied_networks=everything[1:]) == [
        NAMES,
        {"to": [*everywhere([], [])[:1], PODS]},
    ]


def test_builds_that_may_reach_everything_are_under_no_policy_of_what_they_reach() -> None:
    assert egress(denied_networks=[]) is None


def test_a_source_of_a_library_s_user_is_a_network_or_pods() -> None:
    for source in ({}, {"network": "10.0.0.0/8", "namespace": "ci"}):
        with pytest.raises(ValueError, match="say either network, or namespace and pods"):
            egress(sources=[source])


def test_there_are_none_where_they_are_not_wanted() -> None:
    made = record_program(networkPolicies={"enabled": False})
    assert not [*made.of("NetworkPolicies"), *made.of("NetworkPolicy")]
