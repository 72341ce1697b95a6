"""The table of what an overlay must leave as it is: each of its rows, broken and kept."""

import json
from typing import Any

import pulumi
import pytest
from pulumi_buildkit import _overlay_rules
from pulumi_buildkit._overlay_rules import Effect, Target
from pulumi_buildkit.overlay import conflicts, merged

from settings import parse, preflight
from settings.overlays import OVERLAYS
from tests.complaints import complaints, config

Fields = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
GIT = {"context": "https://github.com/moby/buildkit.git"}

CONTAINERS = {
    Target.BUILDKITD: "buildkitd",
    Target.BUILD: "buildkitd",
    Target.GATEWAY: "envoy",
    Target.USER_NAMESPACES: "sysctl-userns",
}
STACK: Fields = {"mode": "deployment", "monitoring": {"buildkitd": True}}
"""A stack whose pods have all that rules look at."""


def base(target: Target, **keys: Any) -> Any:
    """What an overlay is merged over in a stack."""
    if target is Target.BUILD:
        keys = {**keys, "mode": "job", "job": GIT, "monitoring": {}}
    settings = parse(config(**{**STACK, **keys}))
    return next(
        made for overlay in OVERLAYS for kind, made in overlay.bases(settings) if kind is target
    )


def of_container(**fields: Any) -> Fields:
    """Of the component's own container, whose name the target says."""
    return {"containers": [{"name": None, **fields}]}


def of_sidecar(**fields: Any) -> Fields:
    return {"initContainers": [{"name": "metrics", **fields}]}


def spec(**fields: Any) -> Fields:
    return {"spec": fields}


PODS = (Target.BUILDKITD, Target.BUILD, Target.GATEWAY, Target.USER_NAMESPACES)
DRAINED = (Target.BUILDKITD, Target.GATEWAY)
STAYING = (*DRAINED, Target.USER_NAMESPACES)
STEPS = (Target.BUILDKITD, Target.BUILD, Target.GATEWAY)
SERVICES = (Target.BUILDKITD_SERVICE, Target.GATEWAY_SERVICE)
ONE = (Target.BUILDKITD,)
EXPOSED = {"gateway": {"service": "LoadBalancer", "host": "builds.example.com"}}
CLAIM = {"volume": {"kind": "claim"}}

Row = tuple[str, tuple[Target, ...], Fields, Fields]
BROKEN: list[Row] = [
    # The path, the targets, the overlay, and the stack's further keys.
    ("metadata.name", SERVICES, {"metadata": {"name": "mine"}}, {}),
    ("metadata.namespace", SERVICES, {"metadata": {"namespace": "other"}}, {}),
    ("metadata.labels.app", (*PODS, *SERVICES), {"metadata": {"labels": {"app": "other"}}}, {}),
    ("metadata.labels.app", PODS, {"metadata": {"labels": {"app": None}}}, {}),
    ("spec.containers.*", PODS, spec(containers=[{"name": None, "$patch": "delete"}]), {}),
    ("spec.containers.*", PODS, spec(containers=None), {}),
    ("spec.containers.*.command", PODS, spec(**of_container(command=["sleep"])), {}),
    ("spec.containers.*.args", STEPS, spec(**of_container(args=["--debug"])), {}),
    (
        "spec.containers.*.ports.1234",
        DRAINED,
        spec(**of_container(ports=[{"containerPort": 1234, "name": "other"}])),
        {},
    ),
    (
        "spec.containers.*.ports.1234",
        DRAINED,
        spec(**of_container(ports=[{"containerPort": 1234, "$patch": "delete"}])),
        {},
    ),
    (
        "spec.containers.*.volumeMounts./certs",
        ONE,
        spec(**of_container(volumeMounts=[{"mountPath": "/certs", "name": "mine"}])),
        {},
    ),
    (
        "spec.containers.*.volumeMounts./certs/server",
        (Target.GATEWAY,),
        spec(**of_container(volumeMounts=[{"mountPath": "/certs/server", "$patch": "delete"}])),
        {},
    ),
    (
        "spec.containers.*.securityContext.privileged",
        (Target.BUILDKITD, Target.BUILD),
        spec(**of_container(securityContext={"privileged": True})),
        {},
    ),
    (
        "spec.containers.*.resources.limits.memory",
        (Target.GATEWAY,),
        spec(**of_container(resources={"limits": {"memory": "256Mi"}})),
        {},
    ),
    ("spec.initContainers.*", ONE, spec(initContainers=None), {}),
    ("spec.initContainers.*.command", ONE, spec(**of_sidecar(command=["sleep"])), {}),
    ("spec.initContainers.*.args", ONE, spec(**of_sidecar(args=[])), {}),
    ("spec.initContainers.*.ports.8082", ONE, spec(**of_sidecar(ports=None)), {}),
    ("spec.initContainers.*.volumeMounts./debug", ONE, spec(**of_sidecar(volumeMounts=None)), {}),
    (
        "spec.initContainers.*.securityContext.privileged",
        ONE,
        spec(**of_sidecar(securityContext={"privileged": True})),
        {},
    ),
    ("spec.initContainers.*.restartPolicy", ONE, spec(**of_sidecar(restartPolicy=None)), {}),
    (
        "spec.volumes.certs",
        ONE,
        spec(volumes=[{"name": "certs", "secret": {"secretName": "mine"}}]),
        {},
    ),
    ("spec.volumes.config", ONE, spec(volumes=[{"name": "config", "emptyDir": {}}]), {}),
    ("spec.volumes.buildkitd", ONE, spec(volumes=[{"name": "buildkitd", "$patch": "delete"}]), {}),
    (
        "spec.volumes.upstream",
        (Target.GATEWAY,),
        spec(volumes=[{"name": "upstream", "secret": {"secretName": "mine"}}]),
        {},
    ),
    ("spec.terminationGracePeriodSeconds", DRAINED, spec(terminationGracePeriodSeconds=30), {}),
    ("spec.terminationGracePeriodSeconds", DRAINED, spec(terminationGracePeriodSeconds=None), {}),
    ("spec.containers.*.lifecycle", DRAINED, spec(**of_container(lifecycle=None)), {}),
    (
        "spec.containers.*.lifecycle",
        DRAINED,
        spec(**of_container(lifecycle={"preStop": {"exec": {"command": ["sleep", "5"]}}})),
        {},
    ),
    (
        "spec.containers.*.lifecycle",
        DRAINED,
        spec(**of_container(lifecycle={"$patch": "replace", "stopSignal": "SIGQUIT"})),
        {},
    ),
    ("spec.activeDeadlineSeconds", STAYING, spec(activeDeadlineSeconds=3600), {}),
    *(
        (f"spec.containers.*.{probe}", targets, spec(**of_container(**{probe: value})), {})
        for probe, targets in (
            ("startupProbe", DRAINED),
            ("readinessProbe", STAYING),
            ("livenessProbe", DRAINED),
        )
        for value in (
            None,
            {"exec": None, "tcpSocket": None, "httpGet": {"path": "/", "port": 80}},
            {"tcpSocket": {"port": 1}},
        )
    ),
    ("spec.restartPolicy", STAYING, spec(restartPolicy="Never"), {}),
    ("spec.restartPolicy", (Target.BUILD,), spec(restartPolicy="Always"), {}),
    ("spec.containers.*.restartPolicy", STAYING, spec(**of_container(restartPolicy="Never")), {}),
    *(
        (f"spec.affinity.podAntiAffinity.{REQUIRED}", ONE, spec(affinity=value), CLAIM)
        for value in (
            None,
            {"podAntiAffinity": None},
            {"podAntiAffinity": {REQUIRED: None}},
            {"$patch": "replace", "nodeAffinity": {}},
        )
    ),
    ("spec.nodeName", PODS, spec(nodeName="node-1"), {}),
    ("spec.shareProcessNamespace", STEPS, spec(shareProcessNamespace=True), {}),
    ("spec.hostPID", STEPS, spec(hostPID=True), {}),
    ("spec.hostIPC", STEPS, spec(hostIPC=True), {}),
    ("spec.hostUsers", ONE, spec(hostUsers=True), {"security": "userns"}),
    ("spec.hostUsers", ONE, spec(hostUsers=None), {"security": "userns"}),
    ("spec.hostUsers", (Target.USER_NAMESPACES,), spec(hostUsers=False), {}),
    ("spec.selector", SERVICES, spec(selector={"app": "other"}), {}),
    ("spec.ports.1234", SERVICES, spec(ports=[{"port": 1234, "targetPort": 80}]), {}),
    ("spec.ports.1234", SERVICES, spec(ports=[{"port": 1234, "$patch": "delete"}]), {}),
    (
        "spec.ports.1234.nodePort",
        (Target.GATEWAY_SERVICE,),
        spec(ports=[{"port": 1234, "nodePort": 30000}]),
        {},
    ),
    ("spec.type", SERVICES, spec(type="NodePort"), {}),
    ("spec.loadBalancerClass", SERVICES, spec(loadBalancerClass="tailscale"), {}),
    (
        "spec.loadBalancerSourceRanges",
        (Target.GATEWAY_SERVICE,),
        spec(loadBalancerSourceRanges=["192.0.2.0/24"]),
        EXPOSED,
    ),
    ("spec.externalTrafficPolicy", SERVICES, spec(externalTrafficPolicy="Local"), EXPOSED),
    ("spec.clusterIP", SERVICES, spec(clusterIP="None"), {}),
    ("spec.clusterIPs", SERVICES, spec(clusterIPs=["None"]), {}),
    ("spec.publishNotReadyAddresses", SERVICES, spec(publishNotReadyAddresses=True), {}),
    ("spec.internalTrafficPolicy", SERVICES, spec(internalTrafficPolicy="Local"), {}),
]
RISKY: list[Row] = [
    *(
        (
            f"metadata.annotations.{annotation}",
            DRAINED,
            {"metadata": {"annotations": {annotation: value}}},
            {},
        )
        for annotation, value in (
            ("cluster-autoscaler.kubernetes.io/safe-to-evict", "true"),
            ("karpenter.sh/do-not-disrupt", None),
        )
    ),
    ("spec.hostNetwork", STEPS, spec(hostNetwork=True), {}),
    ("spec.automountServiceAccountToken", PODS, spec(automountServiceAccountToken=True), {}),
]
HARMLESS: list[tuple[tuple[Target, ...], Fields, Fields]] = [
    # What the issue of private registries and tainted pools asks for.
    (
        PODS,
        spec(
            tolerations=[{"key": "builds", "operator": "Exists"}],
            nodeSelector={"kubernetes.io/os": None, "pool": "builds"},
            imagePullSecrets=[{"name": "registry"}],
            priorityClassName="builds",
            serviceAccountName="builder",
            securityContext={"runAsUser": None, "runAsGroup": None, "fsGroup": None},
            dnsConfig={"options": [{"name": "ndots", "value": "1"}]},
            terminationGracePeriodSeconds=7200,
        ),
        {},
    ),
    ((*PODS, *SERVICES), {"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}}, {}),
    (PODS, spec(**of_container(image="mirror/a:b", resources={"limits": {"cpu": 1}})), {}),
    (STAYING, spec(**of_container(readinessProbe={"periodSeconds": 7, "failureThreshold": 9})), {}),
    (DRAINED, spec(**of_container(livenessProbe={"timeoutSeconds": 9})), {}),
    (DRAINED, spec(**of_container(lifecycle={"stopSignal": "SIGQUIT"})), {}),
    (STAYING, spec(restartPolicy="Always"), {}),
    (STEPS, spec(shareProcessNamespace=False, hostPID=False, hostNetwork=False), {}),
    (ONE, spec(volumes=[{"name": "buildkitd", "hostPath": {"path": "/ssd"}}]), {}),
    (ONE, spec(volumes=[{"name": "more", "secret": {"secretName": "mine"}}]), {}),
    (ONE, spec(hostUsers=False), {}),
    (ONE, spec(**of_container(securityContext={"privileged": True})), {"security": "privileged"}),
    (ONE, spec(**of_sidecar(securityContext={"runAsUser": None})), {}),
    (
        ONE,
        spec(
            affinity={
                "podAntiAffinity": {
                    REQUIRED: [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]
                }
            }
        ),
        CLAIM,
    ),
    (
        SERVICES,
        spec(
            ipFamilyPolicy="PreferDualStack",
            ipFamilies=["IPv6"],
            sessionAffinity="ClientIP",
            trafficDistribution="PreferClose",
        ),
        {},
    ),
    (
        (Target.GATEWAY_SERVICE,),
        spec(
            loadBalancerIP="192.0.2.7",
            clusterIP="10.96.0.7",
            ports=[
                {"port": 1234, "name": "a"},
                {"port": 443, "name": "b", "targetPort": "clients"},
            ],
        ),
        EXPOSED,
    ),
]


def cases(rows: list[Row]) -> list[Any]:
    return [
        pytest.param(path, target, overlay, keys, id=f"{path}-{target.name}-{json.dumps(overlay)}")
        for path, targets, overlay, keys in rows
        for target in targets
    ]


def of(target: Target, value: Any) -> Any:
    """*value* with the name of the target's container where it stands for it."""
    if isinstance(value, dict) and value.get("name", "") is None:
        return {**value, "name": CONTAINERS[target]}
    if isinstance(value, dict):
        return {key: of(target, inner) for key, inner in value.items()}
    return [of(target, item) for item in value] if isinstance(value, list) else value


def path_of(target: Target, path: str) -> str:
    container = CONTAINERS.get(target, "")
    path = path.replace("spec.initContainers.*", "spec.initContainers.metrics")
    return path.replace("*", container)


def found(target: Target, overlay: Fields, keys: Fields) -> list[tuple[str, Effect]]:
    laid_over = of(target, overlay)
    return [
        (".".join(conflict.path), conflict.effect)
        for conflict in conflicts(base(target, **keys), laid_over, target)
    ]


@pytest.mark.parametrize(("path", "target", "overlay", "keys"), cases(BROKEN))
def test_a_broken_promise_is_refused(
    path: str, target: Target, overlay: Fields, keys: Fields
) -> None:
    refused = [place for place, effect in found(target, overlay, keys) if effect is Effect.REFUSED]
    expected = path_of(target, path)
    assert expected in refused
    # What is missing with a whole section is told once for each.
    assert all(place.startswith(expected.rpartition(".")[0]) for place in refused)
    with pytest.raises(ValueError, match=r"is invalid: expected .*\.$") as error:
        merged(base(target, **keys), of(target, overlay), target)
    root = "pod" if target in PODS else "service"
    assert any(line.startswith(f"{root}.{expected}: ") for line in str(error.value).split("\n"))


@pytest.mark.parametrize(("path", "target", "overlay", "keys"), cases(RISKY))
def test_a_risk_is_no_more_than_a_warning(
    path: str, target: Target, overlay: Fields, keys: Fields
) -> None:
    assert found(target, overlay, keys) == [(path, Effect.WARNED)]
    merged(base(target, **keys), of(target, overlay), target)


@pytest.mark.parametrize(
    ("target", "overlay", "keys"),
    [(target, overlay, keys) for targets, overlay, keys in HARMLESS for target in targets],
)
def test_all_else_is_the_user_s(target: Target, overlay: Fields, keys: Fields) -> None:
    assert found(target, overlay, keys) == []


def test_every_row_of_the_table_has_a_case() -> None:
    tried = {
        (target, tuple(path.split(".", 2 if "annotations" in path else -1)))
        for path, targets, *_ in (*BROKEN, *RISKY)
        for target in targets
    }
    for rule in _overlay_rules.RULES:
        assert any(
            target in rule.targets
            and len(path) == len(rule.path)
            and all(part in ("*", given) for part, given in zip(rule.path, path, strict=True))
            for target, path in tried
        ), rule


def test_what_the_component_says_may_be_said_again() -> None:
    own = base(Target.BUILDKITD)
    again = {
        "metadata": {"labels": {"app": "buildkitd"}},
        "spec": {"containers": [{"name": "buildkitd", "args": own.spec.containers[0].args}]},
    }
    assert merged(own, again, Target.BUILDKITD) == own


def test_the_settings_tell_all_of_it_at_once() -> None:
    assert complaints(
        config(
            volume={"kind": "claim"},
            drain={"timeout": 900},
            pod={
                "spec": {
                    "terminationGracePeriodSeconds": 30,
                    "shareProcessNamespace": True,
                    "containers": [{"name": "buildkitd", "lifecycle": None}],
                    "affinity": {"podAntiAffinity": None},
                }
            },
            serviceOverlay={"spec": {"type": "NodePort"}},
            gateway={
                "pod": {"spec": {"containers": [{"name": "envoy", "readinessProbe": None}]}},
                "serviceOverlay": {"spec": {"publishNotReadyAddresses": True}},
            },
            userNamespaces={"pod": {"spec": {"hostUsers": False}}},
        )
    ) == [
        "buildkit:gateway.pod.spec.containers.envoy.readinessProbe: is invalid: expected the "
        "component's own check. Change its times only, as periodSeconds.",
        "buildkit:gateway.serviceOverlay.spec.publishNotReadyAddresses: True: is invalid: expected "
        "false: new builds would reach pods that drain. Remove it.",
        "buildkit:pod.spec.terminationGracePeriodSeconds: 30: is invalid: expected 930 or more: "
        "builds would be cut off. Change drain.timeout instead.",
        "buildkit:pod.spec.containers.buildkitd.lifecycle: is invalid: expected the component's "
        "own hooks: they drain the pod. Remove them from the overlay.",
        f"buildkit:pod.spec.affinity.podAntiAffinity.{REQUIRED}: is invalid: expected the "
        "component's own term among yours: it keeps two pods off one claim. Keep it.",
        "buildkit:pod.spec.shareProcessNamespace: True: is invalid: expected false: the drain "
        "signals process 1 of its container, and other containers could kill it. Remove it.",
        "buildkit:serviceOverlay.spec.type: 'NodePort': is invalid: expected the component's own "
        "value. Set gateway.service instead.",
        "buildkit:userNamespaces.pod.spec.hostUsers: False: is invalid: expected true: the setting "
        "would be the pod's own. Remove it.",
    ]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"gateway": {"pod": {"spec": {"toleration": []}}}},
            "buildkit:gateway.pod.spec.toleration: is no field that can be set; did you mean "
            "tolerations? see `kubectl explain pod.spec`",
        ),
        (
            {"gateway": {"pod": {"spec": {"containers": [{"name": "buildkitd"}]}}}},
            "buildkit:gateway.pod.spec.containers[0].image: is missing; write it",
        ),
        (
            {"gateway": {"serviceOverlay": {"spec": {"ipFamilyPolice": "SingleStack"}}}},
            "buildkit:gateway.serviceOverlay.spec.ipFamilyPolice: is no field that can be set; did "
            "you mean ipFamilyPolicy? see `kubectl explain service.spec`",
        ),
        (
            {"serviceOverlay": {"status": {}}},
            "buildkit:serviceOverlay.status: is no field that can be set; they are metadata, spec",
        ),
        (
            {"serviceOverlay": {"spec": {"ports": [{"name": "a"}]}}},
            "buildkit:serviceOverlay.spec.ports[0].port: is missing; write it",
        ),
        (
            {"userNamespaces": {"pod": {"spec": {"imagePullSecrets": {"name": "a"}}}}},
            "buildkit:userNamespaces.pod.spec.imagePullSecrets: is no list; write its items below "
            "it, one a line, each after a hyphen",
        ),
    ],
)
def test_every_overlay_s_fields_are_kubernetes_own(keys: Fields, line: str) -> None:
    assert complaints(config(**keys)) == [line]


def test_a_risk_is_a_warning_of_the_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    keys = {"pod": {"spec": {"hostNetwork": True}}, "preflight": "none"}
    assert preflight.check(parse(config(**keys))) == []
    assert said == [
        "buildkit:pod.spec.hostNetwork: True: puts the pod into the node's network, where no "
        "network policy holds for it. Remove it unless it has to be there."
    ]


def test_overlays_of_what_is_not_made_are_no_risk(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    pod = {"spec": {"hostNetwork": True}}
    keys = {"mode": "pod", "gateway": {"pod": pod}, "preflight": "none"}
    assert preflight.check(parse(config(**keys))) == []
    assert said == []
