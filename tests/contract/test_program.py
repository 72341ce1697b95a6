"""The whole program, as a stack runs it."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_origin

import pulumi
import pytest
import yaml

from settings import Mode, Section, Settings, section_of
from tests.own_certificate import own_certificate
from tests.recording import AUTO_NAME, REPO, Recording, Resource
from tests.recording import record_program as run

HELLO = {"files": {"Dockerfile": "FROM scratch\n"}}
JOB = {"mode": "job", "job": HELLO}
BALANCED = {"service": "LoadBalancer", "host": "build.example.com"}
NO_GATEWAY = {"gateway": {"enabled": False}}
# By what differs: who runs buildkitd, and how clients come to it.
WAYS: dict[str, dict[str, Any]] = {
    "pod": {"mode": "pod"},
    "pod-gateway": {"mode": "pod", "gateway": {"enabled": True, "host": "127.0.0.1"}},
    "deployment": {"mode": "deployment"},
    "deployment-mtls": {"mode": "deployment", **NO_GATEWAY},
    "statefulset": {"mode": "statefulset"},
    "statefulset-kube-pod": {"mode": "statefulset", **NO_GATEWAY},
    "job": JOB,
}
EACH_WAY = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def ways() -> dict[str, Recording]:
    return {way: run(namespace="build", **keys) for way, keys in WAYS.items()}


@pytest.fixture(scope="module")
def dev() -> Recording:
    return run()


def outputs(made: Recording) -> dict[str, Any]:
    return made.outputs_of("Stack").values


def found(resource: Resource, path: str) -> Any:
    """The value in a resource's inputs; a number in *path* is a position."""
    value: Any = resource.inputs
    for key in path.split("/"):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


# What it says


@pytest.mark.parametrize(
    ("way", "endpoint"),
    [
        ("pod", "kube-pod://buildkitd?namespace=build"),
        ("pod-gateway", "127.0.0.1:1234"),
        ("deployment", "127.0.0.1:1234"),
        ("deployment-mtls", "buildkitd.build.svc:1234"),
        ("statefulset", "127.0.0.1:1234"),
        ("statefulset-kube-pod", "kube-pod://buildkitd-0?namespace=build"),
    ],
)
def test_the_endpoint_is_where_buildctl_and_buildx_connect(
    ways: dict[str, Recording], way: str, endpoint: str
) -> None:
    said = outputs(ways[way])
    assert said["endpoint"] == endpoint
    buildctl, buildx = said["buildctl_command"], said["buildx_command"]
    build = "build --frontend dockerfile.v0 --local context=. --local dockerfile=."
    if endpoint.startswith("kube-pod:"):
        # A shell would take the question mark for a pattern.
        assert buildctl == f"buildctl --addr '{endpoint}' {build}"
        assert buildx == (f"docker buildx create --name buildkit --driver remote '{endpoint}'")
    else:
        assert buildctl == (
            f"buildctl --addr tcp://{endpoint} --tlscacert certs/ca.pem "
            f"--tlscert certs/cert.pem --tlskey certs/key.pem {build}"
        )
        assert buildx == (
            "docker buildx create --name buildkit --driver remote --driver-opt "
            '"cacert=$PWD/certs/ca.pem,cert=$PWD/certs/cert.pem,key=$PWD/certs/key.pem" '
            f"tcp://{endpoint}"
        )


@pytest.mark.parametrize(
    ("way", "workload"),
    [
        ("pod", "pod/buildkitd"),
        ("deployment", "deployment/buildkitd"),
        ("statefulset", "statefulset/buildkitd"),
        ("job", f"job/build{AUTO_NAME}"),
    ],
)
def test_the_workload_is_what_kubectl_calls_it(
    ways: dict[str, Recording], way: str, workload: str
) -> None:
    assert outputs(ways[way])["workload"] == workload


@EACH_WAY
def test_there_is_a_gateway_where_there_is_an_output_of_it(
    ways: dict[str, Recording], way: str
) -> None:
    gateways = [f"deployment/{d.name}" for d in ways[way].of("Deployment") if "gateway" in d.name]
    expected = way in ("pod-gateway", "deployment", "statefulset")
    assert gateways == (["deployment/buildkit-gateway"] if expected else [])
    assert outputs(ways[way]).get("gateway") == (gateways[0] if expected else None)


def test_a_job_has_no_endpoint(ways: dict[str, Recording]) -> None:
    assert {*outputs(ways["job"])} == {"namespace", "clients", "valid_until", "workload"}


def test_the_clients_are_an_output_of_certificates_by_name(dev: Recording) -> None:
    assert {name: sorted(bundle) for name, bundle in outputs(dev)["clients"].items()} == {
        "dev": ["ca", "cert", "key"]
    }


@EACH_WAY
def test_the_clients_are_the_only_secret_output(ways: dict[str, Recording], way: str) -> None:
    assert ways[way].outputs_of("Stack").secrets == {"clients"}


FARM = {"mode": "statefulset", "farm": {}}


def test_each_project_of_a_farm_has_a_host_name_which_its_certificate_has() -> None:
    made = run(**FARM, gateway={"host": "builds.example.com"})
    assert outputs(made)["endpoint"] == "PROJECT.builds.example.com:1234"
    names = made.one("CertRequest", "buildkit-server-request").inputs["dnsNames"]
    assert names[:2] == ["builds.example.com", "*.builds.example.com"]


@pytest.mark.parametrize(
    "keys", [{}, {"gateway": {"host": "10.0.0.1"}}, {"farm": {"routing": "client"}}]
)
def test_where_names_mean_nothing_there_are_none(keys: dict[str, Any]) -> None:
    made = run(**{**FARM, "namespace": "build", **keys})
    assert not outputs(made)["endpoint"].startswith("PROJECT.")
    names = made.one("CertRequest", "buildkit-server-request").inputs["dnsNames"]
    assert not [name for name in names if name.startswith("*")]


def test_a_farm_is_made_for_its_most_and_begins_as_small_as_it_may() -> None:
    fixed, scaled = (
        run(**{**FARM, "farm": {"replicas": {"min": fewest, "max": 3}}}) for fewest in (3, 1)
    )
    assert found(fixed.one("StatefulSet"), "spec/replicas") == 3
    assert not [*fixed.of("ScaledObject")]
    assert "replicas" not in found(scaled.one("StatefulSet"), "spec")
    assert len([*scaled.of("PersistentVolumeClaim")]) == 3


def test_the_stacks_of_several_farms_become_nodes_of_one_builder(dev: Recording) -> None:
    first, other = (outputs(dev)[f"buildx_{key}"] for key in ("command", "append_command"))
    assert other == first.replace("--name buildkit", "--append --name buildkit --node dev").replace(
        "$PWD/certs/", "$PWD/certs-dev/"
    )


# What it makes

BUILDS, CLIENTS = "NetworkPolicy buildkit-builds", "NetworkPolicy buildkit-gateway"


@pytest.mark.parametrize(
    ("way", "objects"),
    [
        ("pod", {"Pod buildkitd", "Job buildkitd-proof", BUILDS}),
        (
            "pod-gateway",
            {
                *("Pod buildkitd", "Job buildkitd-proof", "Service buildkitd"),
                *("Deployment buildkit-gateway", "Service buildkit-gateway"),
                "PodDisruptionBudget buildkit-gateway",
                *(BUILDS, CLIENTS),
            },
        ),
        (
            "deployment",
            {
                *("Deployment buildkitd", "Service buildkitd"),
                *("Deployment buildkit-gateway", "Service buildkit-gateway"),
                "PodDisruptionBudget buildkit-gateway",
                *(BUILDS, CLIENTS),
            },
        ),
        (
            "deployment-mtls",
            {"Deployment buildkitd", "Service buildkitd", BUILDS},
        ),
        (
            "statefulset",
            {
                *("StatefulSet buildkitd", "Service buildkitd", "Service buildkitd-pods"),
                *("PersistentVolumeClaim rootless-cache-buildkitd-0", "Job buildkitd-proof"),
                *("Deployment buildkit-gateway", "Service buildkit-gateway"),
                "PodDisruptionBudget buildkit-gateway",
                *(BUILDS, CLIENTS),
            },
        ),
        (
            "statefulset-kube-pod",
            {
                *("StatefulSet buildkitd", "Service buildkitd-pods", "Job buildkitd-proof"),
                *(
                    "PersistentVolumeClaim rootless-cache-buildkitd-0",
                    BUILDS,
                ),
            },
        ),
        ("job", {"Job build", BUILDS}),
    ],
)
def test_a_stack_has_what_its_mode_needs_and_nothing_else(
    ways: dict[str, Recording], way: str, objects: set[str]
) -> None:
    everywhere = {"Namespace", "ConfigMap", "Secret"}
    kinds = [
        (r.type.rpartition(":")[2], r.name)
        for r in ways[way].resources
        if r.type.startswith("kubernetes:")
    ]
    assert {f"{kind} {name}" for kind, name in kinds if kind not in everywhere} == objects


@EACH_WAY
def test_everything_is_in_the_stack_s_namespace(ways: dict[str, Recording], way: str) -> None:
    objects = [r for r in ways[way].resources if r.type.startswith("kubernetes:")]
    namespaces = {r.inputs["metadata"].get("namespace", "") for r in objects}
    assert namespaces == {"", outputs(ways[way])["namespace"]}


@EACH_WAY
def test_a_preview_shows_everything_before_the_namespace_has_its_name(way: str) -> None:
    previewed, updated = (run(preview, **WAYS[way]) for preview in (True, False))
    assert {r.urn for r in previewed.resources} == {r.urn for r in updated.resources}


def test_a_namespace_that_nobody_named_is_shared_with_nobody(dev: Recording) -> None:
    assert outputs(dev)["namespace"] == "buildkit-dev-x1y2z"


def test_a_namespace_that_is_there_is_used_and_not_made() -> None:
    made = run(namespace="team", createNamespace=False)
    assert outputs(made)["namespace"] == "team"
    assert not [*made.of("Namespace"), *made.of("RandomString")]


@pytest.mark.parametrize("client", ["internal-gateway", "gateway", "buildkitd", "internal-ca"])
def test_a_client_s_name_never_collides_with_the_program_s_own(client: str) -> None:
    names = [r.inputs["metadata"]["name"] for r in run(clients={client: {}}).of("Secret")]
    assert len(names) == len(set(names)) == 4


@pytest.mark.parametrize("option", ["enableSecretMutable", "enableConfigMapMutable"])
def test_renewed_certificates_and_clients_change_in_place(option: str) -> None:
    project = yaml.safe_load((REPO / "Pulumi.yaml").read_text())
    assert project["config"][f"kubernetes:{option}"]["value"] is True


@EACH_WAY
def test_buildkitd_starts_when_its_nodes_are_ready(way: str) -> None:
    made = run(**WAYS[way], userNamespaces={"enabled": True})
    (component,) = (r for r in made.resources if r.type.startswith("buildkit:index:Buildkit"))
    # Its children are made after it.
    assert made.one("DaemonSet").urn in component.request.dependencies


@EACH_WAY
def test_nothing_is_made_before_the_nodes_were_tried(way: str) -> None:
    made = run(**WAYS[way], preflight="nodes", userNamespaces={"enabled": True})
    component, tried = made.one("NodePreflight"), made.one("Job", "preflight-any")
    # Its namespace is what all others wait for; user namespaces are allowed before.
    assert made.one("DaemonSet").urn in component.request.dependencies
    kinds = {"Namespace", "DaemonSet", "Job"}
    others = [
        r
        for r in made.resources
        if r.type.startswith("kubernetes:") and (r.type.rpartition(":")[2] not in kinds)
    ]
    assert others
    assert not [r.name for r in others if tried.urn not in r.request.dependencies]


def test_the_nodes_are_tried_with_the_stack_s_own_buildkitd() -> None:
    overlay = {"spec": {"runtimeClassName": "sandboxed", "imagePullSecrets": [{"name": "pull"}]}}
    made = run(preflight="nodes", security="userns", image="mirror:5000/buildkit", pod=overlay)
    spec = found(made.one("Job", "preflight-any"), "spec/template/spec")
    assert (spec["hostUsers"], spec["runtimeClassName"]) == (False, "sandboxed")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (container,) = spec["containers"]
    assert container["image"] == "mirror:5000/buildkit"
    assert container["command"][:2] == ["sh", "-c"]
    assert container["command"][4] == "userns"


@pytest.mark.parametrize("extent", ["none", "cluster"])
def test_nodes_are_tried_only_where_that_is_asked_for(extent: str) -> None:
    assert not [*run(preflight=extent).of("NodePreflight")]


# Certificates


def of_the_edge(made: Recording) -> dict[str, Any]:
    """What certificates of the edge follow from."""
    return {
        r.name: r.inputs
        for r in made.resources
        if r.type.startswith("tls:") and r.name.startswith("buildkit-")
    }


@EACH_WAY
def test_no_switch_costs_a_client_its_certificate(ways: dict[str, Recording], way: str) -> None:
    assert of_the_edge(ways[way]) == of_the_edge(ways["deployment"])
    assert outputs(ways[way])["clients"] == outputs(ways["deployment"])["clients"]
    secrets = [ways[w].one("Secret", "buildkit-dev-certs").inputs for w in (way, "deployment")]
    assert secrets[0] == secrets[1]


def test_the_certificate_is_valid_for_all_that_clients_may_dial(dev: Recording) -> None:
    request = dev.one("CertRequest", "buildkit-server-request").inputs
    assert request["dnsNames"] == [
        "buildkit-gateway.buildkit-dev-x1y2z.svc",
        "buildkitd.buildkit-dev-x1y2z.svc",
        "localhost",
    ]
    assert request["ipAddresses"] == ["127.0.0.1"]


@EACH_WAY
def test_the_certificate_is_valid_for_the_endpoint(ways: dict[str, Recording], way: str) -> None:
    request = ways[way].one("CertRequest", "buildkit-server-request").inputs
    endpoint = outputs(ways[way]).get("endpoint", "localhost:1234")
    if not endpoint.startswith("kube-pod:"):
        assert endpoint.rpartition(":")[0] in {*request["dnsNames"], *request["ipAddresses"]}


@pytest.mark.parametrize("way", ["pod-gateway", "deployment", "statefulset"])
def test_only_the_gateway_has_a_certificate_for_buildkitd(
    ways: dict[str, Recording], way: str
) -> None:
    internal = [r for r in ways[way].of("LocallySignedCert") if "buildkitd" in r.name]
    usage = {r.name: r.inputs["allowedUses"][-1] for r in internal}
    assert usage == {"buildkitd-server": "server_auth", "buildkitd-gateway": "client_auth"}


@pytest.mark.parametrize("way", ["pod-gateway", "deployment", "statefulset"])
def test_the_gateway_dials_a_name_that_buildkitd_s_certificate_has(
    ways: dict[str, Recording], way: str
) -> None:
    bootstrap = ways[way].one("ConfigMap", "buildkit-gateway-bootstrap").inputs["data"]
    clusters = json.loads(bootstrap["envoy.json"])["static_resources"]["clusters"]
    (cluster,) = (cluster for cluster in clusters if cluster["name"] == "buildkitd")
    sni = cluster["transport_socket"]["typed_config"]["sni"]
    assert [sni] == ways[way].one("CertRequest", "buildkitd-server-request").inputs["dnsNames"]


@pytest.mark.parametrize("way", ["pod", "deployment-mtls", "statefulset-kube-pod", "job"])
def test_without_a_gateway_nothing_is_made_for_one(ways: dict[str, Recording], way: str) -> None:
    assert not [r.name for r in ways[way].resources if "gateway" in r.name]


@pytest.mark.parametrize("way", ["pod", "statefulset-kube-pod", "job"])
def test_without_clients_there_is_no_certificate(way: str) -> None:
    made = run(**WAYS[way], clients={})
    assert not [r for r in made.resources if r.type.startswith("tls:")]
    assert outputs(made)["clients"] == {}


MINE = own_certificate("127.0.0.1.example.com")
# What is mounted by whoever shows the certificate to clients, without a gateway and with one.
SHOWN = pytest.mark.parametrize(
    ("keys", "deployment", "volume"),
    [(NO_GATEWAY, "buildkitd", "certs"), ({"gateway": {}}, "buildkit-gateway", "server")],
    ids=["buildkitd", "gateway"],
)


def secret_of(made: Recording, deployment: str, volume: str) -> dict[str, Any]:
    volumes = found(made.one("Deployment", deployment), "spec/template/spec/volumes")
    (secret,) = (v["secret"] for v in volumes if v["name"] == volume)
    return secret


@SHOWN
def test_an_existing_secret_is_shown_to_clients_and_nothing_made_for_them(
    keys: dict[str, Any], deployment: str, volume: str
) -> None:
    made = run(**keys, certificates={"existingSecret": "mine"}, clients={"ci": {"san": "ci.a.org"}})
    secret = secret_of(made, deployment, volume)
    assert secret["secretName"] == "mine"
    assert [item["key"] for item in secret["items"]] == ["ca.crt", "tls.crt", "tls.key"]
    assert not of_the_edge(made)
    assert outputs(made)["clients"] == {}


@SHOWN
def test_a_certificate_of_one_s_own_is_shown_to_clients(
    keys: dict[str, Any], deployment: str, volume: str
) -> None:
    own = {"ca": MINE.cert, "cert": MINE.cert, "key": MINE.key}
    made = run(**keys, certificates=own)
    secret = made.one("Secret", "buildkit-own-certs")
    assert secret.inputs["stringData"] == {
        "ca.pem": MINE.cert,
        "cert.pem": MINE.cert,
        "key.pem": MINE.key,
    }
    assert "stringData" in secret.secrets
    shown = secret_of(made, deployment, volume)
    assert shown["secretName"] == secret.inputs["metadata"]["name"]
    assert [item["key"] for item in shown["items"]] == ["ca.pem", "cert.pem", "key.pem"]
    assert not of_the_edge(made)


def test_buildkitd_by_itself_shows_clients_what_the_gateway_would(
    ways: dict[str, Recording],
) -> None:
    direct = secret_of(ways["deployment-mtls"], "buildkitd", "certs")["secretName"]
    behind = secret_of(ways["deployment"], "buildkit-gateway", "server")["secretName"]
    shown = {
        frozenset(ways[way].one("Secret", name).inputs["data"].values())
        for way, name in (("deployment-mtls", direct), ("deployment", behind))
    }
    assert direct != behind
    assert len(shown) == 1


# Secrets

OVERLAY = {
    "metadata": {"labels": {"team": "ours"}},
    "spec": {
        "containers": [
            {"name": "buildkitd", "env": [{"name": "TOKEN", "value": "hush"}]},
            {"name": "sidecar", "image": "a/b:c"},
        ],
    },
}


def env_of(pod: dict[str, Any]) -> dict[str, Any]:
    (buildkitd,) = (c for c in pod["spec"]["containers"] if c["name"] == "buildkitd")
    return {variable["name"]: variable.get("value") for variable in buildkitd["env"]}


def test_a_secret_overlay_is_merged_as_any_other() -> None:
    made = run(mode="statefulset", pod=OVERLAY, secret_keys=["pod"])
    plain = run(mode="statefulset", pod=OVERLAY)
    for kind in ("StatefulSet", "Job"):
        assert made.one(kind).inputs == plain.one(kind).inputs
        assert env_of(made.one(kind).inputs["spec"]["template"])["TOKEN"] == "hush"


def test_the_texts_of_a_secret_overlay_stay_secret() -> None:
    made = run(pod=OVERLAY, secret_keys=["pod"])
    secrets = made.one("Deployment", "buildkitd").secrets
    assert any(path.endswith("env.1.value") for path in secrets), secrets


@pytest.mark.parametrize(
    ("key", "kind", "name", "container"),
    [
        ("gateway", "Deployment", "buildkit-gateway", "envoy"),
        ("userNamespaces", "DaemonSet", "sysctl-userns", "sysctl-userns"),
    ],
)
def test_the_texts_of_every_secret_overlay_stay_secret(
    key: str, kind: str, name: str, container: str
) -> None:
    variable = {"name": "TOKEN", "value": "hush"}
    pod = {"spec": {"containers": [{"name": container, "env": [variable]}]}}
    keys: Any = {key: {"enabled": True, "pod": pod}}
    made = run(secret_keys=[key], **keys).one(kind, name)
    (found,) = made.inputs["spec"]["template"]["spec"]["containers"]
    assert variable in found["env"]
    place = f"containers.0.env.{found['env'].index(variable)}.value"
    assert any(path.endswith(place) for path in made.secrets), made.secrets


# Switches


@pytest.mark.parametrize("way", [way for way in WAYS if way != "job"])
def test_what_is_called_the_same_in_another_mode_is_taken_along(
    ways: dict[str, Recording], way: str
) -> None:
    tokens = {f"buildkit:index:Buildkit{kind}" for kind in ("Pod", "Deployment", "StatefulSet")}
    (component,) = (r for r in ways[way].resources if r.type in tokens)
    former = {alias.spec.type for alias in component.request.aliases}
    assert former == tokens - {component.type}
    assert component.name == "buildkitd"


def test_a_build_takes_nothing_along(ways: dict[str, Recording]) -> None:
    assert not ways["job"].one("BuildkitJob").request.aliases


# Settings

GIT = "https://git.example.com/app.git#4f2a1c9"
CONTAINER = "spec/template/spec/containers/0"
CLAIM = "rootless-cache-buildkitd"
SCALED = ("ScaledObject", "buildkitd-autoscaler")
# Keys, then the object that they reach, where in it, and the value there.
VALUES: list[tuple[dict[str, Any], str, str, str, Any]] = [
    ({"mode": "pod"}, "Pod", "buildkitd", "metadata/name", "buildkitd"),
    ({"security": "userns"}, "Deployment", "buildkitd", "spec/template/spec/hostUsers", False),
    ({"namespace": "team"}, "Namespace", "namespace", "metadata/name", "team"),
    ({"image": "a/b:c"}, "Deployment", "buildkitd", f"{CONTAINER}/image", "a/b:c"),
    ({"replicas": "3"}, "Deployment", "buildkitd", "spec/replicas", 3),
    ({"mode": "statefulset", "replicas": 3}, "StatefulSet", "buildkitd", "spec/replicas", 3),
    (
        {"mode": "pod", "updateTimeout": 900},
        *("Job", "buildkitd-proof", "spec/activeDeadlineSeconds", 900),
    ),
    (
        {"gateway": {"enabled": False}},
        *("Deployment", "buildkitd", "spec/template/spec/volumes/0/secret/secretName"),
        "buildkit-daemon-certs",
    ),
    (
        {"gateway": {"service": "LoadBalancer", "host": "a.org"}},
        *("Service", "buildkit-gateway", "spec/type", "LoadBalancer"),
    ),
    (
        {"gateway": {"host": "a.org"}},
        *("CertRequest", "buildkit-server-request", "dnsNames/0", "a.org"),
    ),
    *(
        ({"networkPolicies": keys}, "NetworkPolicy", name, f"spec/{path}", value)
        for keys, name, path, value in (
            ({"enabled": True}, "buildkit-gateway", "policyTypes", ["Ingress"]),
            (
                {"sources": [{"network": "10.0.0.0/8"}]},
                *("buildkit-gateway", "ingress/0/from/0/ipBlock/cidr", "10.0.0.0/8"),
            ),
            (
                {"sources": [{"namespace": "ci", "pods": {"app": "a"}}]},
                *("buildkit-gateway", "ingress/0/from/0/podSelector/matchLabels/app", "a"),
            ),
            (
                {"metricsNamespaces": ["keda"]},
                "buildkit-gateway",
                "ingress/1/from/0/namespaceSelector/matchLabels",
                {"kubernetes.io/metadata.name": "keda"},
            ),
            (
                {"deniedNetworks": ["10.0.0.0/8"]},
                *("buildkit-builds", "egress/1/to/0/ipBlock/except", ["10.0.0.0/8"]),
            ),
            (
                {"deniedNetworks": ["0.0.0.0/0", "::/0"], "buildsReachPods": False},
                *("buildkit-builds", "egress/0/ports/0/port", 53),
            ),
        )
    ),
    ({"gateway": {"port": 443}}, "Service", "buildkit-gateway", "spec/ports/0/port", 443),
    (
        {"gateway": {"service": "NodePort", "host": "a.org", "nodePort": 30123}},
        *("Service", "buildkit-gateway", "spec/ports/0/nodePort", 30123),
    ),
    (
        {"drain": {"timeout": 90}},
        *("Deployment", "buildkitd", "spec/template/spec/terminationGracePeriodSeconds", 120),
    ),
    (
        {"drain": {"timeout": 90}},
        *("Deployment", "buildkit-gateway", "spec/template/spec/terminationGracePeriodSeconds"),
        120,
    ),
    ({"gateway": {"replicas": 4}}, "Deployment", "buildkit-gateway", "spec/replicas", 4),
    (
        {"gateway": {"image": "a/e:v"}},
        *("Deployment", "buildkit-gateway", f"{CONTAINER}/image", "a/e:v"),
    ),
    (
        {"certificates": {"sans": ["other.example.com"]}},
        *("CertRequest", "buildkit-server-request", "dnsNames/3", "other.example.com"),
    ),
    (
        {"certificates": {"validityHours": 1000}},
        *("LocallySignedCert", "buildkit-dev", "validityPeriodHours", 1000),
    ),
    (
        {"certificates": {"earlyRenewalHours": 48}},
        *("LocallySignedCert", "buildkit-dev", "earlyRenewalHours", 48),
    ),
    (
        {"certificates": {"caValidityHours": 20_000}},
        *("SelfSignedCert", "buildkit-ca", "validityPeriodHours", 20_000),
    ),
    (
        {"certificates": {"authorities": ["ca", "new"]}},
        *("SelfSignedCert", "buildkit-new", "subject/commonName", "buildkit NEW"),
    ),
    (
        {"clients": {"ci": {"namespace": "runners"}}},
        *("Secret", "buildkit-ci-certs", "metadata/namespace", "runners"),
    ),
    (
        {"gateway": {"annotations": {"scheme": "internal"}}},
        *("Service", "buildkit-gateway", "metadata/annotations/scheme", "internal"),
    ),
    (
        {"gateway": {**BALANCED, "loadBalancerClass": "example.com/nlb"}},
        *("Service", "buildkit-gateway", "spec/loadBalancerClass", "example.com/nlb"),
    ),
    (
        {"gateway": {**BALANCED, "sourceRanges": ["10.0.0.0/8"]}},
        *("Service", "buildkit-gateway", "spec/loadBalancerSourceRanges", ["10.0.0.0/8"]),
    ),
    (
        {"gateway": {**BALANCED, "externalTrafficPolicy": "Local"}},
        *("Service", "buildkit-gateway", "spec/externalTrafficPolicy", "Local"),
    ),
    (
        {"gateway": {"maxUnavailable": 2}},
        *("PodDisruptionBudget", "buildkit-gateway", "spec/maxUnavailable", 2),
    ),
    (
        {"gateway": {"spread": ["rack"]}},
        *("Deployment", "buildkit-gateway"),
        *("spec/template/spec/topologySpreadConstraints/0/topologyKey", "rack"),
    ),
    (
        {"gateway": {"resources": {"requests": {"memory": "64Mi"}}}},
        *("Deployment", "buildkit-gateway", f"{CONTAINER}/resources/requests/memory", "64Mi"),
    ),
    (
        {"gateway": {"resources": {"limits": {"memory": "1Gi"}}}},
        *("Deployment", "buildkit-gateway", f"{CONTAINER}/resources/limits", {"memory": "1Gi"}),
    ),
    (
        {"certificates": {"secrets": ["tls"]}},
        *("Secret", "buildkit-tls", "type", "kubernetes.io/tls"),
    ),
    (
        {"certificates": {"existingSecret": "mine", "layout": "combined"}, **NO_GATEWAY},
        *("Deployment", "buildkitd", "spec/template/spec/volumes/0/secret/items/1/key"),
        "server.crt",
    ),
    (
        {"certificates": {"ca": MINE.cert, "cert": MINE.cert, "key": MINE.key}, **NO_GATEWAY},
        *("Secret", "buildkit-own-certs", "stringData/key.pem", MINE.key),
    ),
    (
        {"resources": {"requests": {"memory": "4Gi"}}},
        *("Deployment", "buildkitd", f"{CONTAINER}/resources/requests", {"memory": "4Gi"}),
    ),
    (
        {"resources": {"limits": {"memory": "8Gi"}}},
        *("Deployment", "buildkitd", f"{CONTAINER}/resources/limits", {"memory": "8Gi"}),
    ),
    (
        {"volume": {"kind": "claim", "size": "200Gi"}},
        *("PersistentVolumeClaim", CLAIM, "spec/resources/requests/storage", "200Gi"),
    ),
    (
        {"volume": {"size": "20Gi"}},
        *("Deployment", "buildkitd", "spec/template/spec/volumes/2/emptyDir/sizeLimit", "20Gi"),
    ),
    (
        {"volume": {"kind": "claim", "storageClass": "ssd"}},
        *("PersistentVolumeClaim", CLAIM, "spec/storageClassName", "ssd"),
    ),
    (
        {"pod": {"spec": {"nodeSelector": {"disk": "fast"}}}},
        *("Deployment", "buildkitd", "spec/template/spec/nodeSelector/disk", "fast"),
    ),
    (
        {"serviceOverlay": {"spec": {"ipFamilyPolicy": "PreferDualStack"}}},
        *("Service", "buildkitd", "spec/ipFamilyPolicy", "PreferDualStack"),
    ),
    (
        {"gateway": {"pod": {"spec": {"priorityClassName": "builds"}}}},
        *("Deployment", "buildkit-gateway", "spec/template/spec/priorityClassName", "builds"),
    ),
    (
        {"gateway": {"serviceOverlay": {"spec": {"loadBalancerIP": "192.0.2.7"}}}},
        *("Service", "buildkit-gateway", "spec/loadBalancerIP", "192.0.2.7"),
    ),
    (
        {"userNamespaces": {"enabled": True, "pod": {"spec": {"priorityClassName": "nodes"}}}},
        *("DaemonSet", "sysctl-userns", "spec/template/spec/priorityClassName", "nodes"),
    ),
    ({"job": {**HELLO, "backoffLimit": 2}}, "Job", "build", "spec/backoffLimit", 2),
    ({"job": {**HELLO, "deadline": 60}}, "Job", "build", "spec/activeDeadlineSeconds", 60),
    ({"job": {**HELLO, "ttl": 600}}, "Job", "build", "spec/ttlSecondsAfterFinished", 600),
    (
        {"job": {**HELLO, "registryCredentials": "login"}},
        *("Job", "build", "spec/template/spec/volumes/2/secret/secretName", "login"),
    ),
    (
        {"job": {"files": {"Dockerfile": "FROM a\n"}}},
        *("ConfigMap", "build-files", "data/file-0", "FROM a\n"),
    ),
    (
        {"mode": "job", "job": HELLO, "security": "userns"},
        *("Job", "build", "spec/template/spec/hostUsers", False),
    ),
    (
        {"mode": "statefulset", "farm": {"replicas": {"min": 2}}},
        *(*SCALED, "spec/minReplicaCount", 2),
    ),
    (
        {"mode": "statefulset", "farm": {"replicas": {"min": 1, "max": 9}}},
        *(*SCALED, "spec/maxReplicaCount", 9),
    ),
    ({"autoscaling": {"min": 1}}, *SCALED, "spec/minReplicaCount", 1),
    ({"autoscaling": {"max": 7}}, *SCALED, "spec/maxReplicaCount", 7),
    ({"autoscaling": {"cooldown": 60}}, *SCALED, "spec/cooldownPeriod", 60),
    ({"autoscaling": {"builds": 9}}, *SCALED, "spec/triggers/1/metadata/targetValue", "9"),
    (
        {"monitoring": {"buildkitd": True}, "gateway": {"image": "a/envoy:1"}},
        *("Deployment", "buildkitd", "spec/template/spec/initContainers/0/image", "a/envoy:1"),
    ),
    *(
        (
            {"traces": {"endpoint": "http://collector", "protocol": "http/protobuf"}},
            *("Deployment", "buildkitd", f"{CONTAINER}/env/{number}/value", value),
        )
        for number, value in enumerate(("http://collector", "http/protobuf"))
    ),
    (
        {"monitoring": {"podMonitor": True}},
        *("PodMonitor", "buildkit-monitoring-pods", "spec/podMetricsEndpoints/0/port", "metrics"),
    ),
    (
        {"monitoring": {"rules": True}, "gateway": {"hold": 100}},
        *("PrometheusRule", "buildkit-monitoring-rules", "spec/groups/0/rules/1/for", "60s"),
    ),
    (
        {"monitoring": {"rules": True, "labels": {"release": "prometheus"}}},
        *("PrometheusRule", "buildkit-monitoring-rules", "metadata/labels/release", "prometheus"),
    ),
    (
        {"monitoring": {"dashboard": True}},
        *("ConfigMap", "buildkit-monitoring-dashboard", "metadata/labels/grafana_dashboard", "1"),
    ),
    (
        {"userNamespaces": {"enabled": True, "image": "a/busybox:1"}},
        *("DaemonSet", "sysctl-userns", f"{CONTAINER}/image", "a/busybox:1"),
    ),
]
TOML = ("ConfigMap", "buildkitd-config", "data/buildkitd.toml")
ENVOY = ("ConfigMap", "buildkit-gateway-bootstrap", "data/envoy.json")
BUILDCTL = ("Job", "build", f"{CONTAINER}/args")
# The same where the value is a text with more in it, or a command line.
TEXTS: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"gateway": {"protocol": "tcp"}}, *ENVOY, "envoy.filters.network.tcp_proxy"),
    ({"gateway": {"hold": 10}}, *ENVOY, "gateway.hold: 10 s"),
    ({"mode": "statefulset", "drain": {"timeout": 60}}, *ENVOY, "gateway.hold: 600 s"),
    ({"mode": "statefulset", "drain": {"timeout": 880}}, *ENVOY, "gateway.hold: 1000 s"),
    (
        {"mode": "statefulset", "farm": {"routing": "leastRequest"}},
        *(*ENVOY, '"lb_policy": "LEAST_REQUEST"'),
    ),
    (
        {"mode": "statefulset", "farm": {"replicas": {"max": 2}}, "namespace": "build"},
        *(*ENVOY, '"buildkitd-1.buildkitd-pods.build.svc"'),
    ),
    ({"gateway": {"keepalive": 7}}, *ENVOY, '"interval": "7s"'),
    ({"gateway": {"keepaliveTimeout": 7}}, *ENVOY, '"timeout": "7s"'),
    ({"gateway": {"proxyProtocol": True}}, *ENVOY, "envoy.filters.listener.proxy_protocol"),
    (
        {"clients": {"ops": {"role": "admin"}}},
        *("ConfigMap", "buildkit-gateway-xds", "data/roles.json", '"admin": {'),
    ),
    (
        {"clients": {"ci": {"san": "ci.a.org"}}, "certificates": {"existingSecret": "mine"}},
        *("ConfigMap", "buildkit-gateway-xds", "data/clients.json", '"exact": "ci.a.org"'),
    ),
    (
        {"registries": {"r:5000": {"mirrors": ["m:5000"]}}},
        *(*TOML, '[registry."r:5000"]\nmirrors = [\n    "m:5000",'),
    ),
    ({"registries": {"r:5000": {"http": True}}}, *TOML, "http = true"),
    ({"registries": {"r:5000": {"insecure": True}}}, *TOML, "insecure = true"),
    ({"registries": {"r:5000": {"ca": MINE.cert}}}, *TOML, "/etc/buildkit/ca-r_5000.pem"),
    ({"garbageCollection": {"reservedSpace": "1Gi"}}, *TOML, 'reservedSpace = "1073741824"'),
    ({"garbageCollection": {"maxUsedSpace": "1Gi"}}, *TOML, 'maxUsedSpace = "1073741824"'),
    ({"garbageCollection": {"minFreeSpace": "1Gi"}}, *TOML, 'minFreeSpace = "1073741824"'),
    ({"maxParallelism": 7}, *TOML, "max-parallelism = 7"),
    ({"resources": {"limits": {"cpu": "2500m"}}}, *TOML, "max-parallelism = 3"),
    ({"buildkitd": {"history": {"maxEntries": 9}}}, *TOML, "[history]\nmaxEntries = 9"),
    ({"job": {"context": GIT}}, *BUILDCTL, f"--opt context={GIT}"),
    ({"job": {"context": GIT, "dockerfile": "a/Dockerfile"}}, *BUILDCTL, "filename=a/Dockerfile"),
    (
        {"job": {"context": GIT, "frontend": "gateway.v0", "options": {"source": "a/b"}}},
        *(*BUILDCTL, "--frontend gateway.v0"),
    ),
    ({"job": {"context": GIT, "options": {"no-cache": ""}}}, *BUILDCTL, "--opt no-cache="),
    ({"job": {"context": GIT, "target": "app"}}, *BUILDCTL, "--opt target=app"),
    ({"job": {"context": GIT, "buildArgs": {"A": "1"}}}, *BUILDCTL, "--opt build-arg:A=1"),
    ({"job": {"context": GIT, "platforms": ["linux/arm64"]}}, *BUILDCTL, "platform=linux/arm64"),
    (
        {"job": {"context": GIT, "outputs": [{"type": "image", "name": "a.org/b", "push": True}]}},
        *(*BUILDCTL, "--output name=a.org/b,push=true,type=image"),
    ),
    (
        {"job": {"context": GIT, "cacheFrom": [{"type": "registry", "ref": "a.org/c"}]}},
        *(*BUILDCTL, "--import-cache ref=a.org/c,type=registry"),
    ),
    (
        {"job": {"context": GIT, "cacheTo": [{"type": "registry", "ref": "a.org/c"}]}},
        *(*BUILDCTL, "--export-cache ref=a.org/c,type=registry"),
    ),
    (
        {"job": {"context": GIT, "secrets": {"npm": {"secret": "login", "key": "token"}}}},
        *(*BUILDCTL, "--secret id=npm,src=/secrets/npm/login/token"),
    ),
    (
        {"userNamespaces": {"enabled": True, "maximum": 99}},
        *("DaemonSet", "sysctl-userns", f"{CONTAINER}/command", "user.max_user_namespaces=99;"),
    ),
]


def reached(keys: dict[str, Any], kind: str, name: str, path: str) -> Any:
    mode = {"mode": "job"} if "job" in keys else {}
    return found(run(**{**mode, **keys}).one(kind, name), path)


@pytest.mark.parametrize(("keys", "kind", "name", "path", "value"), VALUES)
def test_a_setting_reaches_its_object(
    keys: dict[str, Any], kind: str, name: str, path: str, value: object
) -> None:
    assert reached(keys, kind, name, path) == value


@pytest.mark.parametrize(("keys", "kind", "name", "path", "part"), TEXTS)
def test_a_setting_reaches_its_file_or_command(
    keys: dict[str, Any], kind: str, name: str, path: str, part: str
) -> None:
    text = reached(keys, kind, name, path)
    assert part in (" ".join(text) if isinstance(text, list) else text)


@pytest.mark.parametrize("mode", ["pod", "deployment", "statefulset"])
def test_a_claim_is_protected_unless_the_stack_lets_it_go(mode: str) -> None:
    protected = [
        run(mode=mode, volume=volume).one("PersistentVolumeClaim").request.protect
        for volume in ({"kind": "claim"}, {"kind": "claim", "protect": False})
    ]
    assert protected == [True, False]


def test_an_update_waits_for_everything_as_long_as_the_stack_says() -> None:
    made = run(mode="statefulset", updateTimeout=900, userNamespaces={"enabled": True})
    awaited = ("StatefulSet", "Deployment", "DaemonSet", "Job")
    timeouts = {r.name: r.request.customTimeouts.create for k in awaited for r in made.of(k)}
    assert len(timeouts) == 4
    assert {*timeouts.values()} == {"900s"}


def given(section: type[Section], keys: dict[str, Any], above: str = "") -> Iterator[str]:
    """The keys of *section* that *keys* has, as `gateway.port`."""
    for key, field in zip(section.keys(), section.model_fields.values(), strict=True):
        inner = section_of(field.annotation)
        if key not in keys or keys[key] is None:
            continue
        if inner is None:
            yield f"{above}{key}"
            continue
        written = keys[key]
        is_map = get_origin(field.annotation) is dict
        many = written.values() if is_map else written if isinstance(written, list) else [written]
        for value in many:
            yield from given(inner, value, f"{above}{key}.")


def defined(section: type[Section], above: str = "") -> Iterator[str]:
    """All keys of *section*."""
    for key, field in zip(section.keys(), section.model_fields.values(), strict=True):
        inner = section_of(field.annotation)
        yield from defined(inner, f"{above}{key}.") if inner else [f"{above}{key}"]


def test_no_key_is_without_a_row() -> None:
    rows = {key for keys, *_ in (*VALUES, *TEXTS) for key in given(Settings, keys)}
    # These have tests of their own, above.
    own = {"createNamespace", "volume.protect", "preflight"}
    assert {*defined(Settings)} - rows == own


def test_every_mode_has_a_way() -> None:
    assert {way["mode"] for way in WAYS.values()} == {mode.value for mode in Mode}


def test_a_mistake_in_the_configuration_ends_the_program() -> None:
    with pytest.raises(pulumi.RunError, match="buildkit:mode: 'pods': is none of its values"):
        run(mode="pods")


# Whose images it runs


def by_digest(name: str) -> str:
    return f"registry.example.com/{name}:v1@sha256:{name.encode().hex():0>64}"


@pytest.mark.parametrize("way", ["pod", "deployment", "statefulset", "job"])
def test_every_image_is_used_by_the_digest_that_is_given(way: str) -> None:
    host: dict[str, Any] = {"enabled": True, "host": "127.0.0.1", "image": by_digest("envoy")}
    made = run(
        **WAYS[way],
        image=by_digest("buildkit"),
        userNamespaces={"enabled": True, "image": by_digest("busybox")},
        **({} if way == "job" else {"gateway": host, "monitoring": {"buildkitd": True}}),
    )
    used = re.findall(r'"image": "([^"]+)"', json.dumps([r.inputs for r in made.resources]))
    envoy = set() if way == "job" else {by_digest("envoy")}
    assert {*used} == {by_digest("buildkit"), by_digest("busybox")} | envoy
