"""What the writer of a configuration is told of a value that can't be used."""

import json
from typing import Any

import pulumi
import pytest
from pulumi.runtime import config as pulumi_config

import settings
from tests.complaints import complaints, config

NO_HOST = "is no DNS name (lower case) and no IP address; give one of them, without scheme or port"
NO_SAN = (
    "is no DNS name (lower case, `*.` in front allowed) and no IP address; give one of them, "
    "without scheme or port"
)
NO_NAME = "is no name; take lower-case letters, digits and hyphens inside, 63 characters at most"
NO_IMAGE = "is no image; write it as REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST"
NO_REGISTRY = "is no registry; write it as HOST or HOST:PORT, without a scheme"
NO_MIRROR = "is no mirror; write it as HOST[:PORT][/PATH], without a scheme"
NO_WHOLE_NUMBER = "is no whole number; write one, as 2"
NO_TEXT = "is no text; put it in quotes"
NO_SIZE = "is no size; write one of 1Mi at least with its unit, as 50Gi"
NO_DISK_SPACE = (
    "is not a valid size: expected 1Mi or more as 50Gi, 250GB or a number of bytes, a percentage "
    "as 80%, or 0"
)
NO_QUANTITY = "is no quantity; write one, as 500m, 2 or 4Gi"
NO_PATH = "is no path of a file in the context; write it from there, as src/main.c"
NO_OBJECT = (
    "is no name of a Kubernetes object; take lower-case letters, digits, and hyphens and dots "
    "inside, 253 characters at most"
)
NO_GIT_URL = (
    "is no Git URL that a Job can clone; write it as https://HOST/PATH.git#REF:DIRECTORY or "
    "git://HOST/PATH (what is private opens by job.secrets.GIT_AUTH_TOKEN)"
)
NO_MAP = "is no map; write its keys below it, one a line"
NO_NAMES = "is no map; write its names below it, one a line, each followed by a colon"
NO_NETWORK = "is no network; write it as ADDRESS/BITS, as 192.0.2.0/24, with no bit of a host in it"
NO_URL = (
    "is no address of a web server; write it as http://HOST:PORT or https://HOST:PORT/PATH, "
    "without a password"
)
NO_LABEL = "is no name of a label or annotation; write it as NAME or DOMAIN/NAME"
RESERVED = "is a name that the server's own certificates have; take another"
JOB = {"context": "https://github.com/moby/buildkit.git"}
KEYS = (
    "the keys are mode, security, namespace, createNamespace, image, replicas, autoscaling, "
    "farm, updateTimeout, clients, gateway, certificates, registries, garbageCollection, "
    "maxParallelism, buildkitd, resources, drain, volume, "
    "monitoring, traces, pod, serviceOverlay, job, networkPolicies, userNamespaces, "
    "preflight"
)
GATEWAY_KEYS = (
    "the keys are enabled, protocol, service, host, port, nodePort, annotations, "
    "loadBalancerClass, sourceRanges, externalTrafficPolicy, proxyProtocol, replicas, "
    "maxUnavailable, spread, resources, hold, keepalive, keepaliveTimeout, image, pod, "
    "serviceOverlay"
)
NO_NETWORK = "is no network; write it as ADDRESS/BITS, as 192.0.2.0/24, with no bit of a host in it"
MISTAKES: list[tuple[dict[str, Any], str]] = [
    *(
        (
            {"traces": {"endpoint": url}},
            f"buildkit:traces.endpoint: {url!r}: {NO_URL}",
        )
        for url in ("collector:4317", "grpc://collector:4317", "http://u:p@collector", "http://")
    ),
    # Keys that there are not.
    ({"colour": "red"}, f"buildkit:colour: 'red': is no key; {KEYS}"),
    ({"replica": "3"}, f"buildkit:replica: '3': is no key; did you mean replicas? {KEYS}"),
    (
        {"gateway.port": "1"},
        f"buildkit:[\"gateway.port\"]: '1': is no key; did you mean gateway? {KEYS}",
    ),
    (
        {"networkPolicies": {"sources": [{"namespace": "ci"}, {"netwrok": "10.0.0.0/8"}]}},
        "buildkit:networkPolicies.sources[1].netwrok: '10.0.0.0/8': is no key; did you mean "
        "network? the keys are network, namespace, pods",
    ),
    (
        {"networkPolicies": {"sources": [{"network": "10.0.0.1/8"}]}},
        f"buildkit:networkPolicies.sources[0].network: '10.0.0.1/8': {NO_NETWORK}",
    ),
    (
        {"networkPolicies": {"deniedNetworks": ["169.254.169.254"]}},
        f"buildkit:networkPolicies.deniedNetworks[0]: '169.254.169.254': {NO_NETWORK}",
    ),
    (
        {"networkPolicies": {"sources": [{"pods": {"app": "a b"}}]}},
        "buildkit:networkPolicies.sources[0].pods.app: 'a b': is no value of a label; take "
        "letters, digits, and hyphens, underscores and dots inside, 63 characters at most",
    ),
    (
        {"gateway": {"node_port": 1}},
        f"buildkit:gateway.node_port: 1: is no key; did you mean nodePort? {GATEWAY_KEYS}",
    ),
    (
        {"certificates": {"early_renewal_hours": 1}},
        "buildkit:certificates.early_renewal_hours: 1: is no key; did you mean earlyRenewalHours? "
        "the keys are sans, validityHours, earlyRenewalHours, caValidityHours, authorities, "
        "secrets, existingSecret, layout, ca, cert, key",
    ),
    (
        {"registries": {"r": {"mirror": "m"}}},
        "buildkit:registries.r.mirror: 'm': is no key; did you mean mirrors? "
        "the keys are mirrors, http, insecure, ca",
    ),
    (
        {"clients": {"dev": {"roles": "admin"}}},
        "buildkit:clients.dev.roles: 'admin': is no key; did you mean role? "
        "the keys are role, namespace, san",
    ),
    # Wrong values.
    (
        {"clients": {"dev": {"role": "root"}}},
        "buildkit:clients.dev.role: 'root': is none of its values; take 'builder' or 'admin'",
    ),
    (
        {"certificates": {"authorities": []}},
        "buildkit:certificates.authorities: []: is empty; write one item at least",
    ),
    (
        {"certificates": {"authorities": [2027]}},
        f"buildkit:certificates.authorities[0]: 2027: {NO_TEXT}",
    ),
    (
        {"certificates": {"authorities": ["server"]}},
        f"buildkit:certificates.authorities[0]: 'server': {RESERVED}",
    ),
    (
        {"gateway": {"sourceRanges": ["10.0.0.1/8"]}},
        f"buildkit:gateway.sourceRanges[0]: '10.0.0.1/8': {NO_NETWORK}",
    ),
    (
        {"gateway": {"sourceRanges": ["10.0.0.1"]}},
        f"buildkit:gateway.sourceRanges[0]: '10.0.0.1': {NO_NETWORK}",
    ),
    (
        {"gateway": {"annotations": {"a b": "c"}}},
        f"buildkit:gateway.annotations[\"a b\"]: 'a b': {NO_LABEL}",
    ),
    (
        {"mode": "daemonset"},
        "buildkit:mode: 'daemonset': is none of its values; "
        "take 'pod', 'deployment', 'statefulset' or 'job'",
    ),
    (
        {"security": "root"},
        "buildkit:security: 'root': is none of its values; "
        "take 'rootless', 'privileged' or 'userns'",
    ),
    (
        {"gateway": {"protocol": "http3"}},
        "buildkit:gateway.protocol: 'http3': is none of its values; take 'http2' or 'tcp'",
    ),
    (
        {"gateway": {"service": "nodeport"}},
        "buildkit:gateway.service: 'nodeport': is none of its values; "
        "take 'ClusterIP', 'NodePort' or 'LoadBalancer'",
    ),
    ({"namespace": "Team"}, f"buildkit:namespace: 'Team': {NO_NAME}"),
    ({"image": "moby/buildkit: v1"}, f"buildkit:image: 'moby/buildkit: v1': {NO_IMAGE}"),
    ({"image": ""}, f"buildkit:image: '': {NO_IMAGE}"),
    ({"gateway": {"image": "a@sha256:1"}}, f"buildkit:gateway.image: 'a@sha256:1': {NO_IMAGE}"),
    ({"replicas": "0"}, "buildkit:replicas: '0': is too small; take 1 or more"),
    ({"replicas": "1001"}, "buildkit:replicas: '1001': is too large; take 1000 or less"),
    ({"gateway": {"port": 0}}, "buildkit:gateway.port: 0: is too small; take 1 or more"),
    (
        {"gateway": {"port": 65536}},
        "buildkit:gateway.port: 65536: is too large; take 65535 or less",
    ),
    ({"gateway": {"hold": -1}}, "buildkit:gateway.hold: -1: is too small; take 0 or more"),
    (
        {"gateway": {"service": "NodePort", "host": "a", "nodePort": 80}},
        "buildkit:gateway.nodePort: 80: is too small; take 1024 or more",
    ),
    # SANs that are none.
    ({"gateway": {"host": "a:1234"}}, f"buildkit:gateway.host: 'a:1234': {NO_HOST}"),
    ({"gateway": {"host": "*.a.org"}}, f"buildkit:gateway.host: '*.a.org': {NO_HOST}"),
    ({"gateway": {"host": "10.0.0.300"}}, f"buildkit:gateway.host: '10.0.0.300': {NO_HOST}"),
    ({"gateway": {"host": "fe80::1%eth0"}}, f"buildkit:gateway.host: 'fe80::1%eth0': {NO_HOST}"),
    (
        {"certificates": {"sans": ["a.org", "https://b.org"]}},
        f"buildkit:certificates.sans[1]: 'https://b.org': {NO_SAN}",
    ),
    # Clients that can't be.
    ({"clients": {"Ann Lee": {}}}, f"buildkit:clients[\"Ann Lee\"]: 'Ann Lee': {NO_NAME}"),
    ({"clients": {"": {}}}, f"buildkit:clients[\"\"]: '': {NO_NAME}"),
    ({"clients": {"a\nb": {}}}, f"buildkit:clients[\"a\\nb\"]: 'a\\nb': {NO_NAME}"),
    ({"clients": {"x" * 64: {}}}, f"buildkit:clients.{'x' * 64}: '{'x' * 64}': {NO_NAME}"),
    ({"clients": {"server": {}}}, f"buildkit:clients.server: 'server': {RESERVED}"),
    ({"clients": {"envoy": {}}}, f"buildkit:clients.envoy: 'envoy': {RESERVED}"),
    # Registries that can't be.
    (
        {"registries": {"https://r.org": {}}},
        f"buildkit:registries[\"https://r.org\"]: 'https://r.org': {NO_REGISTRY}",
    ),
    (
        {"registries": {"docker.io": {"mirrors": ["http://m"]}}},
        f"buildkit:registries[\"docker.io\"].mirrors[0]: 'http://m': {NO_MIRROR}",
    ),
    # Wrong types.
    ({"replicas": "two"}, f"buildkit:replicas: 'two': {NO_WHOLE_NUMBER}"),
    ({"replicas": "1.5"}, f"buildkit:replicas: '1.5': {NO_WHOLE_NUMBER}"),
    ({"gateway": {"hold": 1.5}}, f"buildkit:gateway.hold: 1.5: {NO_WHOLE_NUMBER}"),
    ({"gateway": {"port": True}}, f"buildkit:gateway.port: 'true': {NO_WHOLE_NUMBER}"),
    ({"gateway": {"port": [1]}}, f"buildkit:gateway.port: [1]: {NO_WHOLE_NUMBER}"),
    ({"gateway": {"port": None}}, f"buildkit:gateway.port: {NO_WHOLE_NUMBER}"),
    ({"gateway": {"image": 5}}, "buildkit:gateway.image: 5: is no text; put it in quotes"),
    ({"gateway": "http2"}, f"buildkit:gateway: 'http2': {NO_MAP}"),
    ({"gateway": ["http2"]}, f"buildkit:gateway: ['http2']: {NO_MAP}"),
    ({"clients": ["dev"]}, f"buildkit:clients: ['dev']: {NO_NAMES}"),
    ({"clients": {"dev": True}}, f"buildkit:clients.dev: True: {NO_MAP}"),
    (
        {"certificates": {"sans": "a.org"}},
        "buildkit:certificates.sans: 'a.org': is no list; "
        "write its items below it, one a line, each after a hyphen",
    ),
    (
        {"registries": {"r": {"http": "plain"}}},
        "buildkit:registries.r.http: 'plain': is neither true nor false; write one of them",
    ),
    # JSON that is none.
    ({"clients": '{"dev": {}'}, f"buildkit:clients: '{{\"dev\": {{}}': {NO_NAMES}"),
    ({"gateway": "{port: 1}"}, f"buildkit:gateway: '{{port: 1}}': {NO_MAP}"),
    # Keys below names and in lists.
    (
        {"job": JOB | {"secrets": {"secrets": {"secret": "s", "key": "k", "kez": "k"}}}},
        "buildkit:job.secrets.secrets.kez: 'k': is no key; did you mean key? "
        "the keys are secret, key",
    ),
    (
        {"job": JOB | {"secrets": {"npm": {"secret": "s"}}}},
        "buildkit:job.secrets.npm.key: is missing; write it",
    ),
    (
        {"job": JOB | {"outputs": [{"type": "image"}, {"Type": "image"}]}},
        "buildkit:job.outputs[1].Type: 'Type': is no attribute; write it as buildctl does, as push",
    ),
    # Sizes and quantities.
    *(
        ({"volume": {"size": size}}, f"buildkit:volume.size: {size!r}: {NO_SIZE}")
        for size in ("50GB", "50 Gi", "-1Gi", "", "0", 50, "500m", "1e99", "9Ei", "٣Gi")
    ),
    *(
        (
            {"garbageCollection": {"maxUsedSpace": size}},
            f"buildkit:garbageCollection.maxUsedSpace: {size!r}: {NO_DISK_SPACE}",
        )
        for size in (
            "101%",
            "-1%",
            "8.5%",
            "%",
            "10 %",
            "250GBs",
            "-1GB",
            "",
            50,
            "1kB",
            "8EB",
            "٣GB",
        )
    ),
    (
        {"resources": {"limits": {"cpu": "2 cores"}}},
        f"buildkit:resources.limits.cpu: '2 cores': {NO_QUANTITY}",
    ),
    (
        {"resources": {"requests": {"cpu": -1}}},
        f"buildkit:resources.requests.cpu: -1: {NO_QUANTITY}",
    ),
    ({"resources": {"limits": {"cpu": [2]}}}, f"buildkit:resources.limits.cpu: [2]: {NO_TEXT}"),
    (
        {"resources": {"limits": {"Memory": "1Gi"}}},
        "buildkit:resources.limits.Memory: 'Memory': is no resource of a container; take cpu, "
        "memory, ephemeral-storage, hugepages-SIZE or DOMAIN/NAME",
    ),
    # Git URLs.
    *(
        ({"job": {"context": url}}, f"buildkit:job.context: {url!r}: {NO_GIT_URL}")
        for url in (
            ".",
            "github.com/moby/buildkit",
            "https://github.com/moby/buildkit",
            "https://github.com/moby/buildkit.git/",
            "https:///buildkit.git",
            "https://github.com/moby/build kit.git",
            "https://github.com/moby/buildkit.git#main :docs",
            "https://github.com/moby/buildkit.git?depth=1",
            "https://github.com/moby/buildkit.git?branch=",
            "https://github.com/moby/buildkit.git?ref=a&ref=b",
            "file:///src/buildkit.git",
            "git@github.com/moby/buildkit.git",
            "ssh://git@github.com:22/moby/buildkit.git",
            "git@github.com:moby/buildkit.git",
            "ftp://example.com/buildkit.git",
        )
    ),
    # Other words of a build.
    (
        {"job": JOB | {"frontend": "docker/dockerfile:1"}},
        "buildkit:job.frontend: 'docker/dockerfile:1': is no frontend; take dockerfile.v0, or "
        "gateway.v0 with an image as options.source",
    ),
    *(
        ({"job": JOB | {"dockerfile": path}}, f"buildkit:job.dockerfile: {path!r}: {NO_PATH}")
        for path in ("/Dockerfile", "../Dockerfile", "a//b", "a/", "", "a:b", ".")
    ),
    (
        {"job": {"files": {"Dockerfile": "FROM scratch", "/etc/passwd": ""}}},
        f"buildkit:job.files[\"/etc/passwd\"]: '/etc/passwd': {NO_PATH}",
    ),
    (
        {"job": JOB | {"platforms": ["linux"]}},
        "buildkit:job.platforms[0]: 'linux': is no platform; "
        "write it as linux/amd64 or linux/arm/v7",
    ),
    (
        {"job": JOB | {"buildArgs": {"A B": "1"}}},
        "buildkit:job.buildArgs[\"A B\"]: 'A B': is no name of a build argument; "
        "write it as VERSION",
    ),
    ({"job": JOB | {"buildArgs": {"A": 1.10}}}, f"buildkit:job.buildArgs.A: 1.1: {NO_TEXT}"),
    (
        {"job": JOB | {"secrets": {"../x": {"secret": "s", "key": "k"}}}},
        "buildkit:job.secrets[\"../x\"]: '../x': is no ID of a secret; take letters, digits, "
        "dots, hyphens and underscores",
    ),
    (
        {"job": JOB | {"registryCredentials": "Docker_Config"}},
        f"buildkit:job.registryCredentials: 'Docker_Config': {NO_OBJECT}",
    ),
    (
        {"job": JOB | {"backoffLimit": -1}},
        "buildkit:job.backoffLimit: -1: is too small; take 0 or more",
    ),
    ({"job": JOB | {"deadline": 0}}, "buildkit:job.deadline: 0: is too small; take 1 or more"),
    # Objects, certificates, and all the rest.
    (
        {"volume": {"storageClass": "Fast SSD"}},
        f"buildkit:volume.storageClass: 'Fast SSD': {NO_OBJECT}",
    ),
    (
        {"volume": {"kind": "hostPath"}},
        "buildkit:volume.kind: 'hostPath': is none of its values; take 'emptyDir' or 'claim'",
    ),
    (
        {"certificates": {"existingSecret": "my/secret"}},
        f"buildkit:certificates.existingSecret: 'my/secret': {NO_OBJECT}",
    ),
    (
        {"certificates": {"secrets": ["pem"]}},
        "buildkit:certificates.secrets[0]: 'pem': is none of its values; "
        "take 'daemon', 'envoy', 'combined' or 'tls'",
    ),
    (
        {"registries": {"r": {"ca": "/etc/ca.pem"}}},
        "buildkit:registries.r.ca: '/etc/ca.pem': is no certificate in PEM; give the file's lines, "
        "from -----BEGIN CERTIFICATE----- on",
    ),
    (
        {"certificates": {"existingSecret": "s"}, "clients": {"dev": {"san": "Ann Lee"}}},
        "buildkit:clients.dev.san: 'Ann Lee': is no URI, DNS name or IP address; give the one that "
        "stands in the client's certificate",
    ),
    ({"maxParallelism": "0"}, "buildkit:maxParallelism: '0': is too small; take 1 or more"),
    (
        {"createNamespace": "maybe"},
        "buildkit:createNamespace: 'maybe': is neither true nor false; write one of them",
    ),
    ({"buildkitd": "debug = true"}, f"buildkit:buildkitd: 'debug = true': {NO_NAMES}"),
    ({"pod": ["spec"]}, f"buildkit:pod: ['spec']: {NO_NAMES}"),
    (
        {"userNamespaces": {"maximum": 2**31}},
        "buildkit:userNamespaces.maximum: 2147483648: is too large; take 2147483647 or less",
    ),
]


@pytest.mark.parametrize(
    ("keys", "line"), MISTAKES, ids=[line.split(": ")[0] for _, line in MISTAKES]
)
def test_a_mistake_is_one_line_with_its_key_and_what_to_do(keys: dict[str, Any], line: str) -> None:
    mode = {"mode": "job"} if "job" in keys else {}
    assert complaints(config(**mode, **keys)) == [line]


def test_all_mistakes_are_told_at_once() -> None:
    lines = complaints(
        config(
            clients={},
            mode="daemonset",
            replica="3",
            gateway={"enabled": True, "service": "NodePort", "nodePort": 0, "hold": "long"},
            certificates={"validityHours": 1, "sans": ["a b"]},
            volume={"size": "50GB"},
            buildkitd={"root": "/cache"},
            job={"secrets": {"npm": {}}},
        )
    )
    assert [line.split(": ")[0] for line in lines] == [
        "buildkit:mode",
        "buildkit:gateway.nodePort",
        "buildkit:gateway.hold",
        "buildkit:certificates.sans[0]",
        "buildkit:certificates.earlyRenewalHours",
        "buildkit:buildkitd.root",
        "buildkit:volume.size",
        "buildkit:job.secrets.npm.secret",
        "buildkit:job.secrets.npm.key",
        "buildkit:job",
        "buildkit:replica",
    ]


def test_what_is_wrong_already_is_no_second_mistake() -> None:
    keys = {"validityHours": "a year", "earlyRenewalHours": 9000, "caValidityHours": 1}
    (line,) = complaints(config(certificates=keys))
    assert line == f"buildkit:certificates.validityHours: 'a year': {NO_WHOLE_NUMBER}"


def test_a_long_value_is_shown_short() -> None:
    (line,) = complaints(config(image="x" * 10_000 + "!"))
    assert len(line) < 200


@pytest.mark.parametrize(
    ("keys", "secrets"),
    [
        ({"certificates": {"key": ["hunter2"], "ca": "", "cert": ""}}, frozenset[str]()),
        ({"job": JOB | {"buildArgs": {"TOKEN": ["hunter2"]}}, "mode": "job"}, frozenset({"job"})),
        ({"image": "hunter2!"}, frozenset({"image"})),
        (
            {"certificates": {"kye": "-----BEGIN PRIVATE KEY-----\nhunter2\n"}},
            frozenset[str](),
        ),
    ],
    ids=["private key", "in a map", "scalar", "misspelt"],
)
def test_a_secret_is_shown_to_nobody(keys: dict[str, Any], secrets: frozenset[str]) -> None:
    assert "hunter2" not in "".join(complaints(config(**keys), secrets))


def load(config: dict[str, str], secret_keys: list[str]) -> list[str]:
    """What the stack's writer gets to see."""
    pulumi_config.set_all_config(config, secret_keys)
    try:
        with pytest.raises(pulumi.RunError) as error:
            settings.load()
    finally:
        pulumi_config.set_all_config({}, [])
    return str(error.value).splitlines()[1:]


def test_a_misspelt_key_of_the_stack_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"buildkit:modus": "x", "aws:region": "y"}))
    config = {"buildkit:clients": '{"dev": {}}', "kubernetes:context": "z"}
    (line,) = load(config, [])
    assert line == f"  buildkit:modus: 'x': is no key; did you mean mode? {KEYS}"


def test_what_the_stack_keeps_secret_is_shown_to_nobody() -> None:
    (line,) = load({"buildkit:clients": '{"dev": {}}', "buildkit:image": "x!"}, ["buildkit:image"])
    assert line.startswith("  buildkit:image: is no image;")


def test_the_cluster_is_asked_when_the_settings_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[settings.Settings] = []

    def check(of: settings.Settings) -> list[str]:
        asked.append(of)
        return ["buildkit:volume.storageClass: 'fast': is none of the cluster's; take standard"]

    monkeypatch.setattr("settings.preflight.check", check)
    clients = {"buildkit:clients": '{"dev": {}}'}
    (line,) = load(clients, [])
    assert line.startswith("  buildkit:volume.storageClass: 'fast'")
    load({**clients, "buildkit:replicas": "0"}, [])
    assert len(asked) == 1
