"""What the cluster is asked before anything is made, by a stand-in for its API server."""

import base64
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from cryptography import x509
from pulumi.runtime import config as pulumi_config
from pulumi_buildkit import (
    BuildkitDeployment,
    BuildkitPod,
    BuildkitStatefulSet,
    Security,
    VolumeKind,
    autoscaler,
    monitoring,
)
from pulumi_buildkit.security import VARIANTS

from settings import Mode, Settings, cluster, load, parse, preflight
from tests.api_server import Api, Object
from tests.envoy_gateway import Authority
from tests.recording import REPO, record

CORE = "/api/v1/namespaces/build"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
NODES = "/api/v1/nodes"
CLAIMS = f"{CORE}/persistentvolumeclaims"


@pytest.fixture(autouse=True)
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    return said


@pytest.fixture
def provider() -> Iterator[Callable[..., None]]:
    """Configures Pulumi's Kubernetes provider."""
    before = pulumi_config.CONFIG.get()
    yield lambda **given: pulumi_config.set_all_config(
        {f"kubernetes:{key}": value for key, value in given.items()}
    )
    pulumi_config.set_all_config(before)


def settings(**given: Any) -> Settings:
    values = {"clients": {"dev": {}}, "namespace": "build", **given}
    return parse({k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()})


def named(name: str, **more: Any) -> Object:
    return {"metadata": {"name": name}, **more}


def listed(*items: Object) -> Object:
    return {"kind": "List", "metadata": {}, "items": [*items]}


def storage_class(name: str, default: bool = False, grows: bool = False) -> Object:
    mark = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
    return {
        "metadata": {"name": name, "annotations": mark},
        "provisioner": "stub",
        "allowVolumeExpansion": grows,
    }


def claim(name: str, size: str, storage_class: str = "fast") -> Object:
    spec = {"resources": {"requests": {"storage": size}}, "storageClassName": storage_class}
    return named(name, spec=spec)


def version(major: str, minor: str) -> Object:
    words = ("gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler")
    return {"major": major, "minor": minor, "platform": "x", **dict.fromkeys(words, "x")}


PLAIN: dict[str, Object] = {
    "pod": {"mode": "pod"},
    "deployment": {},
    "emptyDir": {"mode": "statefulset", "volume": {"kind": "emptyDir"}},
    "privileged": {"security": "privileged"},
}


@pytest.mark.parametrize("given", PLAIN.values(), ids=PLAIN)
def test_a_plain_stack_asks_nothing(given: Object, api: Api) -> None:
    assert preflight.check(settings(**given)) == []
    assert api.asked == []


def test_a_plain_stack_does_not_pay_for_the_check() -> None:
    script = (
        "import sys; from settings import parse, preflight; "
        "assert not preflight.check(parse({'mode': 'pod'})); "
        "sys.exit('kubernetes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=REPO).returncode == 0


@pytest.mark.parametrize(("minor", "shown"), [("32", "1.32"), ("9+", "1.9")])
def test_userns_needs_a_server_that_can_do_it(minor: str, shown: str, api: Api) -> None:
    api.objects["/version/"] = version("1", minor)
    assert preflight.check(settings(security="userns")) == [
        f"buildkit:security: 'userns': needs Kubernetes 1.33 or newer, and the server has {shown}; "
        "take rootless or privileged, or update the cluster"
    ]


@pytest.mark.parametrize(("major", "minor"), [("1", "33"), ("1", "36+"), ("2", "0")])
def test_userns_is_fine_on_a_newer_server(major: str, minor: str, api: Api) -> None:
    api.objects["/version/"] = version(major, minor)
    assert preflight.check(settings(security="userns")) == []


def test_an_unknown_storage_class_is_told_with_those_that_there_are(api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("slow"), storage_class("fast"))
    api.objects[CLAIMS] = listed()
    given = settings(volume={"kind": "claim", "storageClass": "fats"})
    assert preflight.check(given) == [
        "buildkit:volume.storageClass: 'fats': is no storage class of the cluster; "
        "take one of fast, slow"
    ]


def test_a_cluster_without_a_default_storage_class_needs_one_to_be_named(api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("fast"))
    api.objects[CLAIMS] = listed()
    assert preflight.check(settings(mode="statefulset")) == [
        "buildkit:volume.storageClass: is missing, and the cluster has no default one; "
        "take one of fast"
    ]
    assert preflight.check(settings(mode="statefulset", volume={"storageClass": "fast"})) == []


def test_a_cluster_without_any_storage_class_has_no_claims(api: Api) -> None:
    api.objects[CLASSES] = listed()
    api.objects[CLAIMS] = listed()
    (complaint,) = preflight.check(settings(mode="statefulset"))
    assert complaint.endswith("it has none; take kind: emptyDir, or make one")


def test_a_default_storage_class_is_enough(api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("fast", default=True), storage_class("slow"))
    api.objects[CLAIMS] = listed()
    assert preflight.check(settings(mode="statefulset")) == []


MAKERS = {
    Mode.POD: BuildkitPod,
    Mode.DEPLOYMENT: BuildkitDeployment,
    Mode.STATEFULSET: BuildkitStatefulSet,
}
EACH_MODE = pytest.mark.parametrize("mode", MAKERS)


def claims_of(mode: Mode) -> list[Object]:
    """The claims that an earlier update made in this *mode*."""
    args: Any = {
        "namespace": "build",
        "certificates": "certs",
        "volume": {"kind": VolumeKind.CLAIM, "size": "40Gi", "storage_class": "fast"},
    }
    made = record(lambda: MAKERS[mode]("buildkitd", args))
    return [each.inputs for each in made.of("PersistentVolumeClaim")]


def resized(mode: Mode, size: str) -> Settings:
    return settings(mode=mode.value, volume={"kind": "claim", "size": size, "storageClass": "fast"})


@EACH_MODE
def test_a_claim_never_shrinks(mode: Mode, api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("fast", grows=True))
    api.objects[CLAIMS] = listed(*claims_of(mode))
    (complaint,) = preflight.check(resized(mode, "30Gi"))
    (name,) = (each["metadata"]["name"] for each in claims_of(mode))
    assert complaint == (
        f"buildkit:volume.size: '30Gi': is too small: the claim {name} has 40Gi, and a claim "
        "never shrinks; take 40Gi or more"
    )


@EACH_MODE
def test_a_claim_grows_where_its_class_lets_it(mode: Mode, api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("fast", grows=True))
    api.objects[CLAIMS] = listed(*claims_of(mode))
    assert preflight.check(resized(mode, "50Gi")) == []
    assert preflight.check(resized(mode, "40960Mi")) == []


@EACH_MODE
def test_a_claim_does_not_grow_where_its_class_does_not_let_it(mode: Mode, api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("fast"))
    api.objects[CLAIMS] = listed(*claims_of(mode))
    (complaint,) = preflight.check(resized(mode, "50Gi"))
    assert complaint.startswith("buildkit:volume.size: '50Gi': is too large: the claim ")
    assert complaint.endswith(
        " has 40Gi, and its storage class fast lets no claim grow (allowVolumeExpansion); take 40Gi"
    )


@EACH_MODE
def test_a_claim_never_changes_its_class(mode: Mode, api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("fast", default=True), storage_class("slow"))
    api.objects[CLAIMS] = listed(*claims_of(mode))
    volume = {"kind": "claim", "size": "40Gi"}
    (name,) = (each["metadata"]["name"] for each in claims_of(mode))
    given = settings(mode=mode.value, volume={**volume, "storageClass": "slow"})
    assert preflight.check(given) == [
        f"buildkit:volume.storageClass: 'slow': is another than the claim {name} has, fast, and a "
        "claim never changes it; take fast, or let the claim go first: volume.protect: false, "
        "`pulumi up`, volume.kind: emptyDir, `pulumi up`"
    ]
    # The cluster's default may be another today.
    assert preflight.check(settings(mode=mode.value, volume=volume)) == []


@EACH_MODE
def test_the_claims_of_other_modes_and_variants_are_not_meant(mode: Mode, api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("fast"))
    others = [each for other in MAKERS if other is not mode for each in claims_of(other)]
    root = [
        claim(each["metadata"]["name"].replace("rootless", "root"), "40Gi")
        for each in claims_of(mode)
    ]
    api.objects[CLAIMS] = listed(*others, *root)
    assert preflight.check(resized(mode, "30Gi")) == []


def test_only_the_stack_s_own_claims_are_asked_for(api: Api) -> None:
    api.objects[CLASSES] = listed(storage_class("fast", default=True))
    api.objects[CLAIMS] = listed()
    preflight.check(settings(mode="statefulset"))
    (asked,) = (path for path in api.asked if path.startswith(CLAIMS))
    labels = {each["metadata"]["labels"]["app"] for each in claims_of(Mode.STATEFULSET)}
    assert labels == {"buildkitd"}
    assert "app.kubernetes.io%2Fpart-of%3Dbuildkit" in asked
    assert "app.kubernetes.io%2Finstance%3Dbuildkitd" in asked


def test_the_claims_in_a_namespace_that_pulumi_named_are_asked_for_when_it_is_known(
    api: Api,
) -> None:
    api.objects[CLASSES] = listed(storage_class("fast", default=True))
    api.objects[CLAIMS] = listed(*claims_of(Mode.STATEFULSET))
    given = parse({"mode": "statefulset", "clients": '{"dev": {}}', "volume": '{"size": "1Gi"}'})
    assert preflight.check(given) == []
    assert api.asked == [CLASSES]
    (complaint,) = preflight.check_in(given, "build")
    assert complaint.startswith("buildkit:volume.size: '1Gi': is too small")


def test_a_namespace_that_is_not_made_has_to_be_there(api: Api) -> None:
    assert preflight.check(settings(createNamespace="false")) == [
        "buildkit:namespace: 'build': is not there, and createNamespace is false; make it, or take "
        "createNamespace away"
    ]
    api.objects[CORE] = named("build")
    assert preflight.check(settings(createNamespace="false")) == []


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_namespace_has_to_allow_buildkit_s_pods(level: str, api: Api) -> None:
    label = "pod-security.kubernetes.io/enforce"
    api.objects[CORE] = {"metadata": {"name": "build", "labels": {label: level}}}
    assert preflight.check(settings(createNamespace="false")) == [
        f"buildkit:namespace: 'build': has the label {label}={level}, which forbids BuildKit's "
        "pods; set it to privileged there, or take another namespace"
    ]


def namespace_at(level: str) -> Object:
    return {"metadata": {"name": "build", "labels": {f"{LEVEL}": level}}}


LEVEL = "pod-security.kubernetes.io/enforce"


@pytest.mark.parametrize("security", Security)
def test_a_level_that_the_variant_passes_is_no_mistake(
    security: Security, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.objects["/version/"] = version("1", "36")
    api.objects[CORE] = namespace_at("baseline")
    given = settings(createNamespace="false", security=security.value)
    assert len(preflight.check(given)) == 1
    lenient = replace(VARIANTS[security], pod_security="baseline")
    monkeypatch.setitem(VARIANTS, security, lenient)
    assert preflight.check(given) == []
    # The DaemonSet of the sysctl is privileged whatever buildkitd is.
    more = {"userNamespaces": {"enabled": True}}
    assert len(preflight.check(given.model_copy(update=parse_more(more)))) == 1
    api.objects[CORE] = namespace_at("restricted")
    (complaint,) = preflight.check(given)
    assert "set it to baseline there" in complaint


def parse_more(keys: Object) -> Object:
    """The fields of settings that these *keys* are."""
    return {"user_namespaces": settings(**keys).user_namespaces}


def test_what_the_overlay_makes_of_the_pods_is_for_the_api_server_to_judge(
    api: Api, warnings: list[str]
) -> None:
    api.objects[CORE] = namespace_at("baseline")
    context = {"seccompProfile": {"type": "Localhost", "localhostProfile": "buildkit.json"}}
    container = {"name": "buildkitd", "securityContext": context}
    given = settings(createNamespace="false", pod={"spec": {"containers": [container]}})
    assert preflight.check(given) == []
    (warning,) = warnings
    assert warning.startswith(f"buildkit:namespace: 'build': has the label {LEVEL}=baseline")


@pytest.mark.parametrize("key", ["podMonitor", "rules"])
def test_what_prometheus_operator_reads_needs_it(key: str, api: Api) -> None:
    watched = settings(monitoring={key: True})
    (complaint,) = preflight.check(watched)
    assert complaint.startswith("buildkit:monitoring: needs the Prometheus operator")
    assert "helm install prometheus kube-prometheus-stack --repo" in complaint
    served = {"kind": "APIResourceList", "groupVersion": monitoring.API_VERSION, "resources": []}
    api.objects[f"/apis/{monitoring.API_VERSION}"] = served
    assert preflight.check(watched) == []


def test_a_dashboard_needs_no_operator(api: Api) -> None:
    assert preflight.check(settings(monitoring={"dashboard": True})) == []
    assert api.asked == []


FARM = {"mode": "statefulset", "volume": {"kind": "emptyDir"}}


@pytest.mark.parametrize(
    "given",
    [{"autoscaling": {}}, {**FARM, "farm": {"replicas": {"min": 1, "max": 2}}}],
    ids=["autoscaling", "farm"],
)
def test_what_follows_the_builds_needs_keda(given: Object, api: Api) -> None:
    scaled = settings(**given)
    (complaint,) = preflight.check(scaled)
    assert complaint.startswith("buildkit:autoscaling: needs KEDA, and the cluster does not have")
    assert "helm install keda keda --repo" in complaint
    served = {"kind": "APIResourceList", "groupVersion": autoscaler.API_VERSION, "resources": []}
    api.objects[f"/apis/{autoscaler.API_VERSION}"] = served
    assert preflight.check(scaled) == []


def test_a_farm_of_a_fixed_number_needs_none(api: Api) -> None:
    assert preflight.check(settings(**FARM, farm={"replicas": {"min": 2, "max": 2}})) == []
    assert api.asked == []


def secret(**data: bytes) -> Object:
    encoded = {
        key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()
    }
    return {"metadata": {"name": "own"}, "type": "Opaque", "data": encoded}


def own_certificate(host: str = "build.example.com") -> Settings:
    return settings(
        createNamespace="false",
        gateway={"host": host},
        certificates={"existingSecret": "own", "layout": "daemon"},
    )


def test_the_namespace_of_a_client_s_secret_has_to_be_there(api: Api) -> None:
    api.objects["/api/v1/namespaces/there"] = named("there")
    clients = {"ci": {"namespace": "there"}, "ops": {"namespace": "nowhere"}}
    assert preflight.check(settings(clients=clients)) == [
        "buildkit:clients.ops.namespace: 'nowhere': is not there; make it first"
    ]


def test_a_client_s_secret_may_be_where_the_others_will_be(api: Api) -> None:
    assert preflight.check(settings(clients={"ci": {"namespace": "build"}})) == []


def test_an_existing_secret_has_to_exist(api: Api) -> None:
    api.objects[CORE] = named("build")
    assert preflight.check(own_certificate()) == [
        "buildkit:certificates.existingSecret: 'own': is no Secret in the namespace build; "
        "make it first"
    ]


def test_an_existing_secret_is_read_as_its_layout_says(api: Api) -> None:
    api.objects[CORE] = named("build")
    api.objects[f"{CORE}/secrets/own"] = secret(ca_pem=b"a", tls_crt=b"b")
    complaints = preflight.check(own_certificate())
    prefix = "buildkit:certificates.existingSecret: 'own': "
    assert [c.removeprefix(prefix).partition(": ")[0] for c in complaints] == [
        "cert.pem",
        "key.pem",
    ]


def test_an_existing_secret_that_is_right_is_no_mistake(api: Api, tmp_path: Path) -> None:
    directory = Authority("own").server(tmp_path)
    files = {name: (directory / f"{name}.pem").read_bytes() for name in ("ca", "cert", "key")}
    api.objects[CORE] = named("build")
    api.objects[f"{CORE}/secrets/own"] = secret(**{f"{k}_pem": v for k, v in files.items()})
    assert preflight.check(own_certificate("localhost")) == []
    (complaint,) = preflight.check(own_certificate("elsewhere.example.com"))
    assert "elsewhere.example.com" in complaint


JOB = {
    "context": "https://git.example.com/app.git",
    "registryCredentials": "registry",
    "secrets": {"token": {"secret": "tokens", "key": "git"}},
}


def job() -> Settings:
    return settings(mode="job", job=JOB)


def test_a_job_s_secrets_have_to_be_there(api: Api) -> None:
    api.objects[CORE] = named("build")
    assert preflight.check(job()) == [
        "buildkit:job.registryCredentials: 'registry': is no Secret of the type "
        "kubernetes.io/dockerconfigjson in the namespace build; make it: kubectl create secret "
        "docker-registry",
        "buildkit:job.secrets.token.secret: 'tokens': is no Secret in the namespace build; "
        "make it first",
    ]


def test_a_job_s_secrets_have_to_be_what_they_are_for(api: Api) -> None:
    api.objects[CORE] = named("build")
    api.objects[f"{CORE}/secrets/registry"] = secret(password=b"a")
    api.objects[f"{CORE}/secrets/tokens"] = secret(gitlab=b"a", npm=b"b")
    assert [complaint.partition(";")[0] for complaint in preflight.check(job())] == [
        "buildkit:job.registryCredentials: 'registry': is no Secret of the type "
        "kubernetes.io/dockerconfigjson in the namespace build",
        "buildkit:job.secrets.token.key: 'git': is no key of the Secret tokens",
    ]


def test_a_job_with_its_secrets_is_fine(api: Api) -> None:
    api.objects[CORE] = named("build")
    registry = {**secret(config=b"{}"), "type": "kubernetes.io/dockerconfigjson"}
    api.objects[f"{CORE}/secrets/registry"] = registry
    api.objects[f"{CORE}/secrets/tokens"] = secret(git=b"a")
    assert preflight.check(job()) == []


def test_a_job_in_a_namespace_that_is_yet_to_be_made_waits_for_its_secrets(api: Api) -> None:
    assert preflight.check(job()) == []


OVERLAY = {
    "spec": {
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {
                "name": "login",
                "secret": {
                    "secretName": "login",
                    "items": [{"key": "config.json", "path": "config.json"}],
                },
            }
        ],
        "containers": [
            {
                "name": "buildkitd",
                "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "login", "key": "a"}}},
                    {
                        "name": "B",
                        "valueFrom": {
                            "secretKeyRef": {"name": "login", "key": "b", "optional": True}
                        },
                    },
                ],
            },
            {"name": "sidecar", "image": "a", "envFrom": [{"secretRef": {"name": "gone"}}]},
        ],
    }
}


OVERLAY_OF_ALL = {"spec": {"imagePullSecrets": [{"name": "pull"}]}}


def test_the_overlay_s_secrets_have_to_be_there(api: Api, warnings: list[str]) -> None:
    api.objects[CORE] = named("build")
    api.objects[f"{CORE}/secrets/login"] = secret(a=b"x")
    assert preflight.check(settings(pod=OVERLAY)) == [
        "buildkit:pod.spec.volumes[0].secret.items[0].key: 'config.json': is no key of the Secret "
        "login; its keys are a",
        "buildkit:pod.spec.containers[1].envFrom[0].secretRef.name: 'gone': is no Secret in the "
        "namespace build; make it first",
    ]
    # Without these the pod starts.
    assert warnings == [
        "buildkit:pod.spec.imagePullSecrets[0].name: 'pull': is no Secret in the namespace build; "
        "make it first",
        "buildkit:pod.spec.containers[0].env[1].valueFrom.secretKeyRef.key: 'b': is no key of the "
        "Secret login; its keys are a",
    ]


@pytest.mark.parametrize(
    ("keys", "unused"),
    [
        ({"gateway": {"pod": OVERLAY_OF_ALL}}, {"mode": "pod"}),
        ({"userNamespaces": {"enabled": True, "pod": OVERLAY_OF_ALL}}, {"userNamespaces": {}}),
    ],
)
def test_every_pod_s_overlay_is_asked_for(
    keys: Object, unused: Object, api: Api, warnings: list[str]
) -> None:
    api.objects[CORE] = named("build")
    assert preflight.check(settings(**keys)) == []
    (key,) = keys
    assert warnings == [
        f"buildkit:{key}.pod.spec.imagePullSecrets[0].name: 'pull': is no Secret in the namespace "
        "build; make it first"
    ]
    warnings.clear()
    assert preflight.check(settings(**{**keys, **unused})) == []
    assert warnings == []


def test_the_gateway_s_overlay_counts_for_its_room(api: Api) -> None:
    api.objects[NODES] = listed(node())
    asked = {"name": "envoy", "resources": {"requests": {"ephemeral-storage": "1Ti"}}}
    (complaint,) = preflight.check(settings(gateway={"pod": {"spec": {"containers": [asked]}}}))
    assert complaint.startswith("buildkit:gateway.pod: is, with the other containers of its pod ")


def test_the_overlay_s_secrets_are_not_asked_for_in_a_namespace_that_is_yet_to_be_made(
    api: Api, warnings: list[str]
) -> None:
    assert preflight.check(settings(pod=OVERLAY)) == []
    assert warnings == []


def test_the_stack_s_own_secrets_may_be_yet_to_be_made(api: Api) -> None:
    api.objects[CORE] = named("build")
    own = {"name": "own", "secret": {"secretName": "buildkit-dev-client-certs"}}
    assert preflight.check(settings(pod={"spec": {"volumes": [own]}})) == []


def node(name: str = "one", **more: Any) -> Object:
    """A node with 4 CPUs and 8Gi, of the kind that most are here."""
    info = {
        "architecture": "amd64",
        "kernelVersion": "6.8.0-45-generic",
        "osImage": "Ubuntu 24.04",
        "containerRuntimeVersion": "containerd://2.1.4",
        "kubeletVersion": "v1.36.3",
        **dict.fromkeys(("bootID", "kubeProxyVersion", "machineID", "systemUUID"), "x"),
        "operatingSystem": "linux",
        **more.pop("info", {}),
    }
    status = {
        "allocatable": {"cpu": "4", "memory": "8Gi", **more.pop("allocatable", {})},
        "conditions": [{"type": "Ready", "status": more.pop("ready", "True")}],
        "nodeInfo": info,
        **more.pop("status", {}),
    }
    labels = {"kubernetes.io/os": "linux", **more.pop("labels", {})}
    created = more.pop("created", "2026-01-01T00:00:00Z")
    metadata = {"name": name, "labels": labels, "creationTimestamp": created}
    return {"metadata": metadata, "spec": more, "status": status}


def big(**given: Any) -> Settings:
    return settings(resources={"requests": {"cpu": "16"}}, **given)


TOO_MUCH = (
    "buildkit:resources.requests.cpu: '16': is more than any node has that its pods may run on; "
    "one has the most, 4; take less, or add a node that has it: pods would wait for one"
)


def test_a_request_that_no_node_has_room_for_is_told_with_the_largest(api: Api) -> None:
    api.objects[NODES] = listed(node(), node("small", allocatable={"cpu": "500m"}))
    assert preflight.check(big()) == [TOO_MUCH]
    api.objects[NODES] = listed(node(), node("large", allocatable={"cpu": "15990m"}))
    assert len(preflight.check(big())) == 1
    api.objects[NODES] = listed(node(), node("large", allocatable={"cpu": "16"}))
    assert preflight.check(big()) == []


def test_a_limit_asks_for_as_much(api: Api) -> None:
    api.objects[NODES] = listed(node())
    (complaint,) = preflight.check(settings(resources={"limits": {"memory": "9Gi"}}))
    assert complaint.startswith("buildkit:resources.limits.memory: '9Gi': is more than any node")
    both = {"limits": {"memory": "9Gi"}, "requests": {"memory": "8Gi"}}
    assert preflight.check(settings(resources=both)) == []


def test_requests_that_no_one_node_has_together_are_told_together(api: Api) -> None:
    wide, high = {"cpu": "64"}, {"memory": "256Gi"}
    api.objects[NODES] = listed(node("wide", allocatable=wide), node("high", allocatable=high))
    asked = {"requests": {"cpu": "32", "memory": "128Gi"}}
    assert preflight.check(settings(resources=asked)) == [
        "buildkit:resources: is more than any one node has that its pods may run on (cpu 32, "
        "memory 128Gi); take less, or add a node that has it: pods would wait for one"
    ]


def test_the_gateway_s_requests_count_too(api: Api) -> None:
    api.objects[NODES] = listed(node())
    resources = {"requests": {"ephemeral-storage": "1Ti"}}
    (complaint,) = preflight.check(settings(gateway={"resources": resources}))
    assert complaint.startswith(
        "buildkit:gateway.resources.requests.ephemeral-storage: '1Ti': is more than any node has "
        "that its pods may run on; one has the most, none;"
    )
    assert preflight.check(settings(mode="pod", gateway={"resources": resources})) == []


def test_the_size_of_an_empty_dir_counts_too(api: Api) -> None:
    api.objects[NODES] = listed(node(allocatable={"ephemeral-storage": "50Gi"}))
    assert preflight.check(settings(volume={"size": "100Gi"})) == [
        "buildkit:volume.size: '100Gi': is more than any node has that its pods may run on; one "
        "has the most, 50Gi; take less, or add a node that has it: pods would wait for one"
    ]
    own = {"requests": {"ephemeral-storage": "10Gi"}}
    for fits in ({"volume": {"size": "50Gi"}}, {"volume": {"size": "100Gi"}, "resources": own}):
        assert preflight.check(settings(**fits)) == []


def test_what_other_containers_of_the_pod_ask_for_is_added(api: Api) -> None:
    api.objects[NODES] = listed(node())
    sidecar = {"name": "a", "image": "a", "resources": {"requests": {"cpu": "3"}}}
    pod = {"spec": {"containers": [sidecar]}}
    (complaint,) = preflight.check(settings(resources={"requests": {"cpu": "2"}}, pod=pod))
    assert complaint.startswith(
        "buildkit:resources.requests.cpu: '2': is, with the other containers of its pod 5 of cpu, "
        "more than any node has"
    )
    less = {"name": "buildkitd", "resources": {"requests": {"cpu": "1"}}}
    lowered = {"spec": {"containers": [sidecar, less]}}
    assert preflight.check(big(pod=lowered)) == []


ELSEWHERE: dict[str, tuple[Object, Object]] = {
    "cordoned": ({"unschedulable": True}, {}),
    "Windows": ({"labels": {"kubernetes.io/os": "windows"}}, {}),
    "tainted": ({"taints": [{"key": "gpu", "effect": "NoSchedule", "value": "yes"}]}, {}),
    "tolerates another": (
        {"taints": [{"key": "gpu", "effect": "NoSchedule", "value": "yes"}]},
        {"tolerations": [{"key": "gpu", "value": "no"}]},
    ),
    "not selected": ({"labels": {"pool": "a"}}, {"nodeSelector": {"pool": "b"}}),
}


@pytest.mark.parametrize(("there", "spec"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_large_node_that_its_pods_are_kept_from_is_none(
    there: Object, spec: Object, api: Api
) -> None:
    large = node("large", allocatable={"cpu": "64"}, **json.loads(json.dumps(there)))
    api.objects[NODES] = listed(node(labels=spec.get("nodeSelector", {})), large)
    assert preflight.check(big(pod={"spec": spec})) == [TOO_MUCH]


WELCOME: dict[str, tuple[Object, Object]] = {
    "rather not": ({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]}, {}),
    "tolerated": (
        {"taints": [{"key": "gpu", "effect": "NoSchedule", "value": "yes"}]},
        {"tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes"}]},
    ),
    "tolerates all": (
        {"taints": [{"key": "gpu", "effect": "NoExecute"}]},
        {"tolerations": [{"operator": "Exists"}]},
    ),
    "selected": ({"labels": {"pool": "b"}}, {"nodeSelector": {"pool": "b"}}),
}


@pytest.mark.parametrize(("there", "spec"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_pods_that_no_node_takes_are_warned_of(
    there: Object, spec: Object, api: Api, warnings: list[str]
) -> None:
    api.objects[NODES] = listed(node(**json.loads(json.dumps(there))))
    asked = {"requests": {"cpu": "1"}}
    assert preflight.check(settings(resources=asked, pod={"spec": spec})) == []
    assert warnings[0].startswith("buildkit:pod: no node takes these pods: each is cordoned, ")


@pytest.mark.parametrize(("there", "spec"), WELCOME.values(), ids=WELCOME)
def test_a_large_node_that_its_pods_may_run_on_is_enough(
    there: Object, spec: Object, api: Api
) -> None:
    large = node("large", allocatable={"cpu": "64"}, **json.loads(json.dumps(there)))
    api.objects[NODES] = listed(node(), large)
    assert preflight.check(big(pod={"spec": spec})) == []


def affinity(expression: Object) -> Object:
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    return {"spec": {"affinity": {"nodeAffinity": wanted}}}


@pytest.mark.parametrize(
    ("operator", "values", "fits"),
    [
        ("In", ["8", "9"], True),
        ("In", ["9"], False),
        ("NotIn", ["9"], True),
        ("NotIn", ["8"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
        ("Gt", ["7"], True),
        ("Gt", ["8"], False),
        ("Lt", ["9"], True),
        ("Lt", ["x"], False),
    ],
)
def test_the_affinity_of_its_pods_to_nodes_counts(
    operator: str, values: list[str], fits: bool, api: Api
) -> None:
    api.objects[NODES] = listed(node("eight", labels={"size": "8"}))
    wanted = {"key": "size", "operator": operator, **({"values": values} if values else {})}
    found = preflight.node_kinds(settings(pod=affinity(wanted))).values()
    assert [*found] == (["eight"] if fits else [])


def test_a_node_may_be_named_by_an_affinity(api: Api) -> None:
    api.objects[NODES] = listed(node("a"), node("b", created="2020-01-01T00:00:00Z"))
    field = {"key": "metadata.name", "operator": "In", "values": ["a"]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    wanted = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    given = settings(pod={"spec": {"affinity": wanted}})
    assert [*preflight.node_kinds(given).values()] == ["a"]


def test_a_cluster_without_nodes_may_get_some(api: Api) -> None:
    api.objects[NODES] = listed()
    assert preflight.check(big()) == []


STATUS = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"


def groups(*names: str) -> Object:
    return {"kind": "APIGroupList", "groups": [{"name": name, "versions": []} for name in names]}


AUTOSCALERS: dict[str, Object] = {
    "Karpenter": {"/apis/": groups("karpenter.sh")},
    "cluster-autoscaler": {STATUS: named("cluster-autoscaler-status")},
    "GKE": {NODES: listed(node(labels={"cloud.google.com/gke-nodepool": "a"}))},
    "EKS": {NODES: listed(node(labels={"eks.amazonaws.com/compute-type": "auto"}))},
}


@pytest.mark.parametrize("there", AUTOSCALERS.values(), ids=AUTOSCALERS)
def test_where_larger_nodes_may_be_added_it_is_a_warning(
    there: Object, api: Api, warnings: list[str]
) -> None:
    api.objects[NODES] = listed(node())
    api.objects |= there
    assert preflight.check(big()) == []
    assert warnings == [TOO_MUCH]


def test_a_cluster_that_does_not_say_whether_it_adds_nodes_may(
    api: Api, warnings: list[str]
) -> None:
    api.objects[NODES] = listed(node())
    api.statuses = {STATUS: 403}
    assert preflight.check(big()) == []
    assert warnings == [TOO_MUCH]


def handlers(*able: bool) -> Object:
    named = [{"name": str(n), "features": {"userNamespaces": a}} for n, a in enumerate(able)]
    return {"status": {"runtimeHandlers": named}}


def test_userns_needs_a_runtime_that_can_do_it(new_enough: Api) -> None:
    new_enough.objects[NODES] = listed(node(**handlers(False)), node("b", **handlers(False, False)))
    assert preflight.check(settings(security="userns")) == [
        "buildkit:security: 'userns': needs nodes whose container runtime has user namespaces, and "
        "none has (containerd://2.1.4); take rootless or privileged, or update containerd to 2.0 "
        "and runc to 1.2, or their likes"
    ]
    new_enough.objects[NODES] = listed(node(**handlers(False)), node("b", **handlers(False, True)))
    assert preflight.check(settings(security="userns")) == []
    new_enough.objects[NODES] = listed(node())
    assert preflight.check(settings(security="userns")) == []


def balanced(name: str | None) -> Settings:
    named = {"loadBalancerClass": name} if name else {}
    return settings(gateway={"service": "LoadBalancer", "host": "a.example.com", **named})


def test_a_load_balancer_class_needs_the_controller_that_it_belongs_to(api: Api) -> None:
    api.objects["/apis/"] = groups("apps")
    assert preflight.check(balanced("service.k8s.aws/nlb")) == [
        "buildkit:gateway.loadBalancerClass: 'service.k8s.aws/nlb': is the AWS Load Balancer "
        "Controller's, and the cluster does not have its API (elbv2.k8s.aws); take a class that "
        "somebody makes there, or take it away for the cluster's own load balancers"
    ]
    api.objects["/apis/"] = groups("apps", "elbv2.k8s.aws")
    assert preflight.check(balanced("service.k8s.aws/nlb")) == []


def test_of_an_unknown_load_balancer_class_nothing_can_be_known(api: Api) -> None:
    api.objects["/apis/"] = groups("apps")
    assert preflight.check(balanced("example.com/own")) == []


GATEWAY = f"{CORE}/services/buildkit-gateway"


def service(
    spec: Object | None = None, kind: str = "LoadBalancer", pulumi_set: bool = True
) -> Object:
    """The gateway's Service; a load balancer class may be a webhook's."""
    spec = spec or {}
    fields = {"f:spec": {f"f:{key}": {} for key in spec}}
    managers = [
        {"manager": "pulumi-kubernetes-1a2b3c4d", "fieldsV1": fields if pulumi_set else {}},
        {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {}}},
    ]
    metadata = {"name": "buildkit-gateway", "managedFields": managers}
    return {"metadata": metadata, "spec": {"type": kind, **spec}}


CLASS_A = {"loadBalancerClass": "example.com/a"}
ANOTHER_ADDRESS = (
    ", as a Service of type LoadBalancer never changes its class. Either {}, or get a new load "
    "balancer, with another address: set gateway.service: ClusterIP without a class, run "
    "`pulumi up`, set gateway.service: LoadBalancer and the new class, and run `pulumi up` again"
)


@pytest.mark.parametrize(
    ("wanted", "there", "complaint", "instead"),
    [
        (
            "example.com/b",
            CLASS_A,
            "'example.com/b': is invalid: expected example.com/a",
            "set example.com/a",
        ),
        ("example.com/b", {}, "'example.com/b': is invalid: expected none", "remove it"),
        (None, CLASS_A, "is invalid: expected example.com/a", "set example.com/a"),
    ],
    ids=["changed", "added", "removed"],
)
def test_a_load_balancer_never_changes_its_class(
    wanted: str | None, there: Object, complaint: str, instead: str, api: Api
) -> None:
    api.objects["/apis/"] = groups("apps")
    api.objects[GATEWAY] = service(there)
    assert preflight.check(balanced(wanted)) == [
        f"buildkit:gateway.loadBalancerClass: {complaint}{ANOTHER_ADDRESS.format(instead)}"
    ]


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("example.com/a", service(CLASS_A)),
        ("example.com/a", service(CLASS_A, pulumi_set=False)),
        (None, service()),
        # AWS' controller sets its class on each new load balancer.
        (None, service(CLASS_A, pulumi_set=False)),
        # What is no load balancer yet may get any class.
        ("example.com/b", service(kind="ClusterIP")),
        ("example.com/b", None),
    ],
)
def test_a_load_balancer_keeps_its_class(
    wanted: str | None, there: Object | None, api: Api
) -> None:
    api.objects["/apis/"] = groups("apps")
    if there:
        api.objects[GATEWAY] = there
    assert preflight.check(balanced(wanted)) == []


def class_of(provisioner: str) -> Object:
    return {**storage_class("fast", default=True), "provisioner": provisioner}


@pytest.mark.parametrize("provisioner", ["ebs.csi.aws.com", "kubernetes.io/aws-ebs"])
def test_a_class_needs_the_driver_that_makes_its_volumes(provisioner: str, api: Api) -> None:
    api.objects[CLASSES] = listed(class_of(provisioner))
    assert preflight.check(settings(mode="statefulset")) == [
        "buildkit:volume.storageClass: 'fast': is a class whose volumes ebs.csi.aws.com makes, and "
        "the cluster does not have that driver; install it, or take another class"
    ]
    driver = {"metadata": {"name": "ebs.csi.aws.com"}, "spec": {}}
    api.objects["/apis/storage.k8s.io/v1/csidrivers"] = listed(driver)
    assert preflight.check(settings(mode="statefulset")) == []


def by_hand(name: str, size: str = "50Gi", phase: str = "Available", **more: Any) -> Object:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": size},
        "storageClassName": "fast",
        **more,
    }
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}


def test_volumes_that_nobody_makes_have_to_be_there(api: Api) -> None:
    api.objects[CLASSES] = listed(class_of("kubernetes.io/no-provisioner"))
    ours = {"name": "rootless-cache-buildkitd-0", "namespace": "build"}
    api.objects["/api/v1/persistentvolumes"] = listed(
        by_hand("free"),
        by_hand("ours", phase="Bound", claimRef=ours),
        by_hand("small", "49Gi"),
        by_hand("of another class", storageClassName="slow"),
        by_hand("shared", accessModes=["ReadOnlyMany"]),
        by_hand("taken", phase="Bound", claimRef={**ours, "namespace": "other"}),
    )
    given = {"mode": "statefulset", "replicas": "3"}
    assert preflight.check(settings(**given)) == [
        "buildkit:volume.storageClass: 'fast': is a class whose volumes are made by hand "
        "(kubernetes.io/no-provisioner), and 2 of the 3 that are needed are there, free, "
        "ReadWriteOnce and of 50Gi or more; make the others, or take another class"
    ]
    assert preflight.check(settings(**{**given, "replicas": "2"})) == []
    # Those of a namespace that Pulumi named count before it is known.
    unnamed = {"mode": "statefulset", "replicas": "3", "clients": '{"dev": {}}'}
    assert preflight.check(parse(unnamed)) == []


def test_a_stack_that_wants_nothing_asked_is_not_held_against_the_cluster(
    api: Api, warnings: list[str]
) -> None:
    given = settings(mode="statefulset", security="userns", preflight="none")
    assert preflight.check(given) == preflight.check_in(given, "build") == []
    assert api.asked == warnings == []


def test_a_kind_of_node_is_what_decides_whether_buildkit_runs(api: Api) -> None:
    old = {"kernelVersion": "5.4.0-1", "osImage": "Ubuntu 20.04"}
    api.objects[NODES] = listed(
        node("young", created="2026-03-01T00:00:00Z"),
        node("oldest", created="2026-01-01T00:00:00Z"),
        node("away", created="2025-01-01T00:00:00Z", ready="Unknown"),
        node("cordoned", created="2025-01-01T00:00:00Z", unschedulable=True),
        node("arm", info={"architecture": "arm64"}),
        node("old", info=old),
        node("another runtime", info={"containerRuntimeVersion": "cri-o://1.36.0"}),
    )
    kinds = preflight.node_kinds(settings())
    assert sorted(kinds.values()) == ["another runtime", "arm", "old", "oldest"]
    (name,) = (kind for kind, of in kinds.items() if of == "old")
    assert re.fullmatch(r"amd64-5-4-0-1-[0-9a-f]{4}", name)


def test_the_longest_kernel_leaves_room_in_a_job_s_name(api: Api) -> None:
    kernel = "6.8.0-1031.33_very+long.example.com-cloud-generic-64k-rt"
    api.objects[NODES] = listed(node(info={"kernelVersion": kernel}))
    (kind,) = preflight.node_kinds(settings())
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", kind)
    assert len(f"preflight-{kind}-12345678") <= 63


def test_nodes_that_may_not_be_listed_are_told_and_one_will_be_chosen(
    api: Api, warnings: list[str]
) -> None:
    api.statuses = {NODES: 403}
    assert preflight.node_kinds(settings()) == {}
    assert warnings == ["not checked against the cluster: preflight (403 Forbidden)"]


def test_a_certificate_that_is_about_to_end_is_a_warning_with_its_days(
    api: Api, warnings: list[str], tmp_path: Path
) -> None:
    old, soon = -timedelta(days=80), timedelta(days=5)
    directory = Authority("own").issue(tmp_path, x509.DNSName("localhost"), begins=old, ends=soon)
    files = {name: (directory / f"{name}.pem").read_text() for name in ("ca", "cert", "key")}
    given = settings(certificates=files, gateway={"host": "localhost"})
    assert preflight.check(given) == []
    assert api.asked == []
    assert [re.sub(r"on .*;", "on …;", warning) for warning in warnings] == [
        "buildkit:certificates.cert: ends in 4 days, on …; renew it before that"
    ]
    api.objects[CORE] = named("build")
    api.objects[f"{CORE}/secrets/own"] = secret(
        **{f"{k}_pem": v.encode() for k, v in files.items()}
    )
    assert preflight.check(own_certificate("localhost")) == []
    assert warnings[1].startswith(
        "buildkit:certificates.existingSecret: 'own': cert.pem: ends in 4"
    )


def test_all_complaints_come_at_once(api: Api) -> None:
    api.objects["/version/"] = version("1", "30")
    api.objects[CLASSES] = listed()
    api.objects[CLAIMS] = listed()
    given = settings(mode="statefulset", security="userns", createNamespace="false")
    assert [complaint.split(":")[1] for complaint in preflight.check(given)] == [
        "security",
        "namespace",
        "volume.storageClass",
    ]


def test_what_may_not_be_asked_is_left_open_with_one_warning(api: Api, warnings: list[str]) -> None:
    api.objects["/version/"] = version("1", "30")
    api.statuses = {CLASSES: 403, CLAIMS: 403}
    (complaint,) = preflight.check(settings(mode="statefulset", security="userns"))
    assert complaint.startswith("buildkit:security")
    assert warnings == [
        "not checked against the cluster: volume.storageClass, volume.size (403 Forbidden)"
    ]


def test_a_cluster_that_is_away_is_asked_once(
    api: Api, warnings: list[str], provider: Callable[..., None]
) -> None:
    api.port = 1
    provider(kubeconfig=json.dumps(api.kubeconfig()))
    assert preflight.check(settings(mode="statefulset", security="userns")) == []
    (warning,) = warnings
    assert warning.startswith(
        "not checked against the cluster: security, volume.storageClass, volume.size ("
    )
    assert warning.count("refused") == 1
    assert "\n" not in warning


def test_a_cluster_that_does_not_answer_is_not_waited_for(
    api: Api,
    warnings: list[str],
    provider: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        api.port = deaf.getsockname()[1]
        provider(kubeconfig=json.dumps(api.kubeconfig()))
        assert preflight.check(settings(security="userns")) == []
        deaf.accept()[0].close()
        deaf.setblocking(False)
        with pytest.raises(BlockingIOError):
            deaf.accept()
    (warning,) = warnings
    assert re.search(r"read timeout=0\.[12]", warning)


UNREADABLE = {
    "no file": "/nowhere/kubeconfig",
    "no YAML": "{",
    "no kubeconfig": "clusters",
    "no clusters": '{"current-context": "a"}',
    "no contexts": '{"current-context": "a", "contexts": [{}]}',
    "a long text": "x" * 10_000,
}


@pytest.mark.parametrize("kubeconfig", UNREADABLE.values(), ids=UNREADABLE)
def test_a_kubeconfig_that_leads_nowhere_is_the_provider_s_matter(
    kubeconfig: str, warnings: list[str], provider: Callable[..., None]
) -> None:
    provider(kubeconfig=kubeconfig)
    assert preflight.check(settings(security="userns")) == []
    (warning,) = warnings
    assert warning.startswith("not checked against the cluster: security (no way to it: ")
    assert "\n" not in warning


def test_without_any_kubeconfig_there_is_no_cluster(
    warnings: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert preflight.check(settings(security="userns")) == []
    assert len(warnings) == 1


@pytest.mark.parametrize("key", ["cluster", "renderYamlToDirectory"])
def test_another_cluster_than_the_provider_s_is_never_asked(
    key: str, api: Api, warnings: list[str], provider: Callable[..., None]
) -> None:
    provider(**{key: "other"})
    assert preflight.check(settings(security="userns")) == []
    assert api.asked == []
    assert f"kubernetes:{key} is set" in warnings[0]


def contexts(api: Api, current: str) -> Object:
    """A kubeconfig with a cluster that is away, and the one that is there."""
    away = {"cluster": {"server": "http://127.0.0.1:1"}, "name": "away"}
    context = {"context": {"cluster": "away", "user": "stub"}, "name": "away"}
    there = api.kubeconfig()
    return {
        **there,
        "current-context": current,
        "clusters": [*there["clusters"], away],
        "contexts": [*there["contexts"], context],
    }


@pytest.fixture
def new_enough(api: Api) -> Api:
    api.objects["/version/"] = version("1", "36")
    return api


@pytest.mark.parametrize("given", ["text", "JSON", "file"])
def test_the_provider_s_kubeconfig_and_context_lead_to_the_cluster(
    given: str,
    new_enough: Api,
    provider: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    document = contexts(new_enough, current="away")
    (tmp_path / "given").write_text(yaml.safe_dump(document))
    forms = {
        "text": yaml.safe_dump(document),
        "JSON": json.dumps(document),
        "file": str(tmp_path / "given"),
    }
    provider(kubeconfig=forms[given], context="stub")
    assert preflight.check(settings(security="userns")) == []
    assert new_enough.asked == ["/version/", NODES]


def test_of_several_kubeconfigs_the_first_says_which_cluster(
    new_enough: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, current in (("first", "stub"), ("second", "away")):
        (tmp_path / name).write_text(yaml.safe_dump(contexts(new_enough, current)))
    files = [tmp_path / "missing", tmp_path / "first", tmp_path / "second"]
    monkeypatch.setenv("KUBECONFIG", ":".join(map(str, files)))
    assert preflight.check(settings(security="userns")) == []
    assert new_enough.asked == ["/version/", NODES]


def test_a_stack_is_refused_for_what_the_cluster_says(api: Api) -> None:
    api.objects["/version/"] = version("1", "32")
    with pytest.raises(
        pulumi.RunError, match=r"can't be used:\n  buildkit:security: 'userns': need"
    ):
        record(load, {"buildkit:mode": "pod", "buildkit:security": "userns"})
