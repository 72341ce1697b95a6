"""Configurations that people could have written, for tests that draw them."""

import json
from typing import Any

from hypothesis import strategies as st
from pulumi_buildkit import Security
from pulumi_buildkit.secret_layout import SecretLayout

from settings import MODES, Mode

NAMESPACE = "build"
"""Of all of them."""

Configuration = st.SearchStrategy[dict[str, Any]]
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


def some(**keys: st.SearchStrategy[Any]) -> Configuration:
    """Any of the *keys*."""
    return of({}, **keys)


def of(needed: dict[str, st.SearchStrategy[Any]], **keys: st.SearchStrategy[Any]) -> Configuration:
    """All that is *needed*, and any of the *keys*."""
    return st.fixed_dictionaries(needed, optional=keys)


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def few(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=2, unique_by=json.dumps)


def by_name(values: st.SearchStrategy[Any], names: st.SearchStrategy[str] = NAMES) -> Configuration:
    return st.dictionaries(names, values, max_size=2)


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
IMAGES = one_of(
    "moby/buildkit:v0.34.2-rootless",
    "10.0.0.1:5000/a/b@sha256:" + "0" * 64,
    "registry.example.com/team/buildkit",
)
HOSTS = one_of("build.example.com", "10.0.0.1", "fd00::1", "buildkit")
REGISTRIES = one_of("docker.io", "10.0.0.1:5000", "registry.example.com", "[fd00::1]:443")
SIZES = one_of("50Gi", "1.5Ti", "100M", "1e9", "2147483648", 1073741824, "0.5Gi")
DISK_SPACES = SIZES | one_of("80%", "100%", "0", 0, "250GB", "1.5 tib", "512m")

REGISTRY = some(mirrors=few(REGISTRIES), insecure=st.booleans()) | st.just({"http": True})
REQUESTS = {"cpu": one_of("500m", 0.5), "memory": one_of("1Gi", "1e9"), "ephemeral-storage": SIZES}
LIMITS = {
    "cpu": one_of("2", 4),
    "memory": one_of("8Gi", "1e10"),
    "hugepages-2Mi": one_of("4Mi"),
    "example.com/gpu": one_of(1),
}
GATEWAY = {
    "protocol": one_of("http2", "tcp"),
    "port": st.integers(1, 65535),
    "replicas": st.integers(1, 1000),
    "hold": st.integers(0, 86_400),
    "image": IMAGES,
    "annotations": by_name(TEXTS, one_of("example.com/scheme", "note")),
    "proxyProtocol": st.booleans(),
    "maxUnavailable": st.integers(1, 1000),
    "spread": few(one_of("kubernetes.io/hostname", "rack")),
    "resources": some(requests=some(**REQUESTS), limits=some(**LIMITS)),
}
EXTERNAL = {"externalTrafficPolicy": one_of("Cluster", "Local")}
BALANCER = {
    "loadBalancerClass": one_of("example.com/nlb"),
    "sourceRanges": few(one_of("10.0.0.0/8", "fd00::/8")),
}
NODE_PORT = {"nodePort": st.integers(30000, 32767)}  # what the API server gives away
EXPOSED = [
    some(**GATEWAY, enabled=st.booleans(), host=HOSTS),
    of({"service": one_of("NodePort"), "host": HOSTS}, **GATEWAY, **NODE_PORT, **EXTERNAL),
    of({"service": one_of("LoadBalancer"), "host": HOSTS}, **GATEWAY, **BALANCER, **EXTERNAL),
]
CERTIFICATES = some(
    sans=few(HOSTS),
    validityHours=st.integers(1000, 80_000),
    earlyRenewalHours=st.integers(1, 999),
    caValidityHours=st.integers(81_000, 876_000),
    authorities=one_of(["ca"], ["ca-2026", "ca-2027"]),
    secrets=few(st.sampled_from(SecretLayout)),
) | of({"existingSecret": NAMES}, layout=st.sampled_from(SecretLayout))
CLIENTS = some(role=one_of("admin"), namespace=one_of("default"))  # every cluster has it
VOLUME = of({"kind": one_of("emptyDir")}, size=SIZES) | of(
    {"kind": one_of("claim")}, size=SIZES, storageClass=NAMES, protect=st.booleans()
)
POD = some(
    metadata=some(
        labels=by_name(NAMES),
        annotations=by_name(TEXTS, one_of("example.com/note", "karpenter.sh/do-not-disrupt")),
    ),
    spec=some(
        nodeSelector=by_name(NAMES),
        tolerations=few(one_of({"operator": "Exists"}, {"key": "builds", "value": "true"})),
        affinity=one_of(
            {}, {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}
        ),
        priorityClassName=one_of("system-cluster-critical"),
        imagePullSecrets=few(of({"name": NAMES})),
        hostAliases=few(one_of({"ip": "10.0.0.1", "hostnames": ["registry.internal"]})),
        dnsConfig=some(nameservers=few(one_of("10.0.0.10"))),
        terminationGracePeriodSeconds=st.integers(0, 86_400),
        securityContext=some(supplementalGroups=few(st.integers(0, 2**31 - 1))),
        volumes=few(one_of({"name": "extra", "emptyDir": {"medium": "Memory"}})),
        containers=one_of(
            [],
            [{"name": "buildkitd", "env": [{"name": "HTTP_PROXY", "value": "http://proxy:3128"}]}],
            [{"name": "buildkitd", "livenessProbe": None, "tty": True}],
            [{"name": "sidecar", "image": "busybox", "args": ["sleep", "infinity"]}],
        ),
    ),
)
DENIED = few(one_of("10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::/0"))
NETWORK_POLICIES = {
    "enabled": st.booleans(),
    "deniedNetworks": DENIED,
    "buildsReachPods": st.booleans(),
}
AUTOSCALING = some(min=st.integers(0, 4), max=st.integers(1, 9), cooldown=st.integers(0, 86_400))
FARMS = some(
    replicas=some(min=st.integers(0, 4), max=st.integers(1, 5)),
    routing=one_of("hostName", "client", "leastRequest"),
)
OUTPUTS = one_of(
    {"type": "image", "name": "registry.example.com/a:b,registry.example.com/a:c", "push": True},
    {"type": "local", "dest": "/tmp/out"},
)
CACHES = one_of({"type": "registry", "ref": "registry.example.com/cache", "mode": "max"})
FILES = by_name(TEXTS, one_of("src/main.c", "src/a b/€", "$(HOME)", "main.go"))
JOB = {
    "target": TEXTS,
    "options": by_name(TEXTS, one_of("no-cache", "label:org.example")),
    "buildArgs": by_name(TEXTS, one_of("VERSION", "with.dots")),
    "platforms": few(one_of("linux/amd64", "linux/arm/v7")),
    "outputs": few(OUTPUTS),
    "cacheFrom": few(CACHES),
    "cacheTo": few(CACHES),
    "secrets": by_name(
        of({"secret": NAMES, "key": one_of("token", ".npmrc", "a_b-c")}),
        one_of("npm", "GIT_AUTH_TOKEN", "x" * 100),
    ),
    "registryCredentials": NAMES,
    "backoffLimit": st.integers(0, 100),
    "deadline": st.integers(1, 604_800),
    "ttl": st.integers(1, 604_800),
}
CONTEXTS = one_of("https://example.com/a.git#v1:sub", "git://example.com/a")
BUILDS = of({"context": CONTEXTS}, **JOB) | of(
    {"files": FILES.map(lambda files: {**files, "Dockerfile": "FROM a"})}, **JOB
)

# What goes with every mode, and what does with those that have such a thing.
COMMON = {
    "image": IMAGES,
    "updateTimeout": st.integers(10, 86_400),
    "registries": by_name(REGISTRY, REGISTRIES),
    "garbageCollection": some(
        reservedSpace=DISK_SPACES, maxUsedSpace=DISK_SPACES, minFreeSpace=DISK_SPACES
    ),
    "maxParallelism": st.integers(1, 1000),
    "buildkitd": one_of({"debug": True}, {"history": {"maxAge": "48h"}}, {"log": {"level": "x"}}),
    "resources": some(requests=some(**REQUESTS), limits=some(**LIMITS)),
    "certificates": CERTIFICATES,
    "pod": POD,
    "networkPolicies": some(**NETWORK_POLICIES),
    "monitoring": some(
        podMonitor=st.booleans(),
        rules=st.booleans(),
        dashboard=st.booleans(),
        labels=one_of({}, {"release": "prometheus"}),
    ),
    "userNamespaces": some(enabled=st.booleans(), maximum=st.integers(1, 2**31 - 1), image=IMAGES),
    "preflight": one_of("none", "cluster", "nodes"),
}


def _of_mode(mode: Mode) -> Configuration:
    traits = MODES[mode]
    needed = {
        "mode": st.just(mode.value),
        "security": one_of(*(security.value for security in Security)),
        "namespace": st.just(NAMESPACE),
        "clients": by_name(CLIENTS).map(lambda clients: {"dev": {}, **clients}),
        **({"job": BUILDS} if traits.builds else {}),
    }
    keys = {
        **COMMON,
        **({"gateway": st.one_of(EXPOSED)} if traits.gateway is not None else {}),
        **({"volume": VOLUME} if traits.volumes else {}),
        **({"replicas": st.integers(1, 4)} if traits.replicas else {}),
        **({"autoscaling": AUTOSCALING} if traits.autoscaling else {}),
        **({"farm": FARMS} if mode is Mode.STATEFULSET else {}),
    }
    return of(needed, **keys)


CONFIGURATIONS = st.sampled_from(Mode).flatmap(_of_mode)
"""Keys that make sense each, as `record_program` takes them; most do together."""
