"""What the writer of a configuration is told of values that don't go together."""

from collections.abc import Iterator
from typing import Any, get_origin

import pytest

from settings import MODES, Mode, Section, Settings, parse, section_of
from settings.rules import RULES
from tests.complaints import complaints, config
from tests.own_certificate import own_certificate

MINE = own_certificate("build.example.com")
OTHER = own_certificate("build.example.com")
OWN = {"ca": MINE.cert, "cert": MINE.cert, "key": MINE.key}
GIT = {"context": "https://github.com/moby/buildkit.git"}
MISSING_JOB = (
    "buildkit:job: is missing, and mode is job; say below it what to build, as "
    "`context: https://HOST/PATH.git`"
)
AWAY = "take it away, or change the mode"
NO_ROLES = (
    "needs a gateway with protocol: http2, since nothing else sees RPCs; take it away, or write "
    "admin, which everybody is here"
)
NOT_COUNTED = (
    "buildkit:autoscaling: needs a gateway with protocol: http2, which counts builds and holds "
    "them; take it away, or set gateway.enabled: true and gateway.protocol: http2"
)
NOT_CHOSEN = (
    "buildkit:farm: needs a gateway with protocol: http2, which chooses a pod for each client; "
    "take it away, or set gateway.enabled: true and gateway.protocol: http2"
)
NOT_ONE = (
    "has to be either a network or pods; give `network`, or `namespace` and `pods`, or one of "
    "these two"
)
NOT_SEEN = (
    "buildkit:monitoring: needs a gateway with protocol: http2, which counts builds; take it away, "
    "or set gateway.enabled: true and gateway.protocol: http2"
)
MISTAKES: list[tuple[dict[str, Any], str]] = [
    # Modes.
    (
        {"mode": "pod", "replicas": "2"},
        f"buildkit:replicas: 2: needs mode deployment or statefulset, and mode is pod; {AWAY}",
    ),
    (
        {"mode": "pod", "replicas": "1"},
        f"buildkit:replicas: 1: needs mode deployment or statefulset, and mode is pod; {AWAY}",
    ),
    (
        {"mode": "job", "job": GIT, "replicas": "2"},
        f"buildkit:replicas: 2: needs mode deployment or statefulset, and mode is job; {AWAY}",
    ),
    (
        {"mode": "job", "job": GIT, "gateway": {"enabled": True}},
        "buildkit:gateway.enabled: True: needs mode pod, deployment or statefulset, and mode is "
        f"job; {AWAY}",
    ),
    (
        {"mode": "job", "job": GIT, "volume": {"size": "50Gi"}},
        f"buildkit:volume: needs mode pod, deployment or statefulset, and mode is job; {AWAY}",
    ),
    (
        {"mode": "job", "job": GIT, "volume": {"kind": "claim"}},
        "buildkit:volume.kind: 'claim': needs mode pod, deployment or statefulset, and mode is "
        f"job; {AWAY}",
    ),
    ({"mode": "job"}, MISSING_JOB),
    *(
        (
            {"mode": mode, "job": GIT},
            f"buildkit:job: needs mode job, and mode is {mode}; {AWAY}",
        )
        for mode in ("pod", "deployment", "statefulset")
    ),
    # Volumes.
    (
        {"volume": {"kind": "claim"}, "replicas": "2"},
        "buildkit:replicas: 2: is too many for one claim, which all pods of mode deployment share; "
        "set replicas: 1, volume.kind: emptyDir, or mode: statefulset",
    ),
    (
        {"volume": {"storageClass": "fast"}},
        "buildkit:volume.storageClass: 'fast': is of claims, and the volume is an emptyDir; take "
        "it away, or set volume.kind: claim",
    ),
    (
        {"mode": "statefulset", "volume": {"kind": "emptyDir", "protect": False}},
        "buildkit:volume.protect: False: is of claims, and the volume is an emptyDir; take it "
        "away, or set volume.kind: claim",
    ),
    (
        {"garbageCollection": {"reservedSpace": "2Gi", "maxUsedSpace": "2000Mi"}},
        "buildkit:garbageCollection.reservedSpace: '2Gi': is more than maxUsedSpace, 2000Mi; "
        "take less",
    ),
    (
        {"garbageCollection": {"reservedSpace": "90%", "maxUsedSpace": "80%"}},
        "buildkit:garbageCollection.reservedSpace: '90%': is more than maxUsedSpace, 80%; "
        "take less",
    ),
    (
        {
            "garbageCollection": {"minFreeSpace": "2Ti"},
            "volume": {"kind": "claim", "size": "50Gi"},
        },
        "buildkit:garbageCollection.minFreeSpace: '2Ti': is more than the volume, whose size is "
        "50Gi; take less, or a larger volume",
    ),
    (
        {"mode": "statefulset", "garbageCollection": {"maxUsedSpace": "51Gi"}},
        "buildkit:garbageCollection.maxUsedSpace: '51Gi': is more than the volume, whose size is "
        "50Gi; take less, or a larger volume",
    ),
    # Namespaces.
    (
        {"createNamespace": "false"},
        "buildkit:namespace: is missing, and createNamespace is false; name one that there is",
    ),
    # Clients.
    *(
        (
            {"clients": {}, **keys},
            "buildkit:clients: is empty; write at least one name below it, as `dev: {}`",
        )
        for keys in (
            {},
            {"gateway": {"enabled": False}},
            {"mode": "statefulset"},
            {"mode": "pod", "gateway": {"enabled": True}},
        )
    ),
    (
        {"clients": {"dev": {"san": "dev@example.com".replace("@", ".")}}},
        "buildkit:clients.dev.san: 'dev.example.com': is for certificates of your own, and this "
        "one is made here; take it away, or give certificates.existingSecret",
    ),
    (
        {
            "certificates": {"existingSecret": "mine"},
            "clients": {"a": {}, "b": {"san": "spiffe://buildkit/client/a"}},
        },
        "buildkit:clients.b.san: 'spiffe://buildkit/client/a': is a's too, and they can't be told "
        "apart; take another",
    ),
    # The gateway's Service.
    (
        {"gateway": {"nodePort": 30000}},
        "buildkit:gateway.nodePort: 30000: needs service NodePort, and service is ClusterIP; "
        "take it away, or set service: NodePort",
    ),
    (
        {"gateway": {"service": "NodePort"}},
        "buildkit:gateway.host: is missing: with service NodePort give the name or address that "
        "clients dial, or no certificate is valid for it",
    ),
    (
        {"gateway": {"service": "LoadBalancer"}},
        "buildkit:gateway.host: is missing: with service LoadBalancer give the name or address "
        "that clients dial, or no certificate is valid for it",
    ),
    # Builds that wait for a rollout.
    (
        {"volume": {"kind": "claim"}, "gateway": {"hold": 1919}},
        "buildkit:gateway.hold: 1919: is shorter than builds may have to wait for a pod: "
        "drain.timeout, 1800 s, for the old one's builds and 120 s for its start; take 1920 at "
        "least",
    ),
    (
        {"mode": "statefulset", "drain": {"timeout": 600}, "gateway": {"hold": 60}},
        "buildkit:gateway.hold: 60: is shorter than builds may have to wait for a pod: "
        "drain.timeout, 600 s, for the old one's builds and 120 s for its start; take 720 at least",
    ),
    (
        {"autoscaling": {}, "gateway": {"hold": 119}},
        "buildkit:gateway.hold: 119: is shorter than builds may have to wait for a pod: 120 s for "
        "its start; take 120 at least",
    ),
    # As many pods as builds need.
    (
        {"mode": "job", "job": GIT, "autoscaling": {}},
        f"buildkit:autoscaling: needs mode deployment or statefulset, and mode is job; {AWAY}",
    ),
    (
        {"mode": "pod", "autoscaling": {}},
        f"buildkit:autoscaling: needs mode deployment or statefulset, and mode is pod; {AWAY}",
    ),
    ({"autoscaling": {}, "gateway": {"enabled": False}}, NOT_COUNTED),
    ({"autoscaling": {}, "gateway": {"protocol": "tcp"}}, NOT_COUNTED),
    ({"monitoring": {"rules": True}, "gateway": {"protocol": "tcp"}}, NOT_SEEN),
    ({"monitoring": {"podMonitor": True}, "mode": "pod"}, NOT_SEEN),
    (
        {"autoscaling": {}, "replicas": "2"},
        "buildkit:replicas: 2: is said by autoscaling, from min to max; take one of them away",
    ),
    (
        {"mode": "statefulset", "farm": {}, "replicas": "2"},
        "buildkit:replicas: 2: is said by farm.replicas, from min to max; take one of them away",
    ),
    *(
        (
            {"mode": "statefulset", "farm": {}, "autoscaling": {key: 1}},
            f"buildkit:autoscaling.{key}: 1: is said by farm.replicas.{key}; take one of them away",
        )
        for key in ("min", "max")
    ),
    (
        {"mode": "statefulset", "farm": {"replicas": {"min": 4}}},
        "buildkit:farm.replicas.min: 4: is more than max, 3; take less, or a larger max",
    ),
    (
        {"farm": {}},
        "buildkit:farm: needs mode statefulset, whose pods have a name each, and mode is "
        "deployment; take it away, or change the mode",
    ),
    ({"mode": "statefulset", "farm": {}, "gateway": {"enabled": False}}, NOT_CHOSEN),
    ({"mode": "statefulset", "farm": {}, "gateway": {"protocol": "tcp"}}, NOT_CHOSEN),
    (
        {"autoscaling": {"min": 2}},
        "buildkit:autoscaling.min: 2: is more than max, 1; take less, or a larger max",
    ),
    (
        {"autoscaling": {}, "volume": {"kind": "claim"}},
        "buildkit:volume.kind: 'claim': can't be scaled with this mode, whose pods would meet on "
        "one claim; set mode: statefulset, or volume.kind: emptyDir",
    ),
    (
        {"mode": "job", "job": GIT, "drain": {"timeout": 60}},
        "buildkit:drain: needs mode pod, deployment or statefulset, and mode is job; take it "
        "away, or change the mode",
    ),
    (
        {"mode": "job", "job": GIT, "monitoring": {"buildkitd": True}},
        "buildkit:monitoring.buildkitd: True: needs mode pod, deployment or statefulset, and mode "
        "is job; take it away, or change the mode",
    ),
    (
        {"buildkitd": {"history": {"maxEntries": 0}}},
        "buildkit:buildkitd.history.maxEntries: 0: hides the builds from a pod that waits for them "
        "before it goes; take 1 or more",
    ),
    # Certificates that end too early.
    (
        {"certificates": {"validityHours": 48, "earlyRenewalHours": 48}},
        "buildkit:certificates.earlyRenewalHours: 48: is not less than validityHours, 48; "
        "take fewer hours",
    ),
    (
        {"certificates": {"validityHours": 48}},
        "buildkit:certificates.earlyRenewalHours: 720: is not less than validityHours, 48; "
        "take fewer hours",
    ),
    (
        {"certificates": {"caValidityHours": 9480}},
        "buildkit:certificates.caValidityHours: 9480: is no more than validityHours and "
        "earlyRenewalHours together, and a CA must not end before what it signs; take more than "
        "9480",
    ),
    (
        {"certificates": {"validityHours": 87_000}},
        "buildkit:certificates.caValidityHours: 87600: is no more than validityHours and "
        "earlyRenewalHours together, and a CA must not end before what it signs; take more than "
        "87720",
    ),
    # CAs and clients that can't be told apart.
    (
        {"certificates": {"authorities": ["ca", "ca"]}},
        "buildkit:certificates.authorities[1]: 'ca': is what another one is called, too; take "
        "another name",
    ),
    (
        {"certificates": {"authorities": ["ca", "dev"]}},
        "buildkit:certificates.authorities[1]: 'dev': is what a client is called, too; take "
        "another name",
    ),
    # Roles that nobody could enforce.
    (
        {"gateway": {"protocol": "tcp"}, "clients": {"dev": {"role": "builder"}}},
        f"buildkit:clients.dev.role: 'builder': {NO_ROLES}",
    ),
    (
        {"gateway": {"enabled": False}, "clients": {"dev": {"role": "builder"}}},
        f"buildkit:clients.dev.role: 'builder': {NO_ROLES}",
    ),
    # What only some Services have.
    (
        {"gateway": {"loadBalancerClass": "example.com/lb"}},
        "buildkit:gateway.loadBalancerClass: 'example.com/lb': needs service LoadBalancer, and "
        "service is ClusterIP; take it away, or set service: LoadBalancer",
    ),
    (
        {"gateway": {"service": "NodePort", "host": "a.org", "sourceRanges": ["10.0.0.0/8"]}},
        "buildkit:gateway.sourceRanges: ['10.0.0.0/8']: needs service LoadBalancer, and service is "
        "NodePort; take it away, or set service: LoadBalancer",
    ),
    (
        {"networkPolicies": {"sources": [{"namespace": "ci"}, {}]}},
        f"buildkit:networkPolicies.sources[1]: {NOT_ONE}",
    ),
    (
        {"networkPolicies": {"sources": [{"network": "10.0.0.0/8", "pods": {"app": "a"}}]}},
        f"buildkit:networkPolicies.sources[0]: {NOT_ONE}",
    ),
    (
        {"mode": "pod", "networkPolicies": {"sources": []}},
        "buildkit:networkPolicies.sources: needs a gateway, or a buildkitd that clients reach by "
        "TLS, and there is neither; take it away, or set gateway.enabled: true",
    ),
    (
        {"mode": "job", "job": GIT, "networkPolicies": {"sources": [{"namespace": "ci"}]}},
        "buildkit:networkPolicies.sources: needs a gateway, or a buildkitd that clients reach by "
        "TLS, and there is neither; take it away, since mode job has none",
    ),
    (
        {"gateway": {"enabled": False}, "networkPolicies": {"metricsNamespaces": ["keda"]}},
        "buildkit:networkPolicies.metricsNamespaces: needs metrics to read, a gateway's or "
        "buildkitd's; take it away, or set gateway.enabled: true",
    ),
    (
        {"gateway": {"externalTrafficPolicy": "Local"}},
        "buildkit:gateway.externalTrafficPolicy: 'Local': needs service "
        "NodePort or LoadBalancer, and service is ClusterIP; take it away, or set service: "
        "NodePort or LoadBalancer",
    ),
    (
        {"gateway": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}},
        "buildkit:gateway.resources.requests.cpu: '2': is more than its limit, 1; take as much at "
        "most",
    ),
    (
        {
            "clients": {"ci": {"namespace": "runners"}},
            "certificates": {"existingSecret": "mine"},
        },
        "buildkit:clients.ci.namespace: 'runners': is for the Secret of a certificate that is made "
        "here, and yours are your own; take it away",
    ),
    # Certificates of one's own.
    (
        {"certificates": {"layout": "envoy"}},
        "buildkit:certificates.layout: 'envoy': needs existingSecret, whose keys it names; take "
        "it away, or name the Secret",
    ),
    (
        {"certificates": {"ca": MINE.cert}},
        "buildkit:certificates.cert: is missing, and ca is given; certificates of your own need "
        "ca, cert and key\n"
        "buildkit:certificates.key: is missing, and ca is given; certificates of your own need "
        "ca, cert and key",
    ),
    (
        {"certificates": {"existingSecret": "mine", **OWN}},
        "\n".join(
            f"buildkit:certificates.{key}: is given, and so is existingSecret; "
            "take one of them away"
            for key in OWN
        ),
    ),
    *(
        (
            {"certificates": {**own, key: value}},
            f"buildkit:certificates.{key}: is for certificates that are made here, and yours is "
            "given; take it away",
        )
        for own, key, value in (
            ({"existingSecret": "mine"}, "validityHours", 9000),
            ({"existingSecret": "mine"}, "sans", ["a.org"]),
            (OWN, "earlyRenewalHours", 100),
            (OWN, "secrets", ["daemon"]),
        )
    ),
    (
        {"certificates": {**OWN, "key": ""}},
        "buildkit:certificates.key: is no private key in PEM; give the file's lines",
    ),
    (
        {"certificates": {**OWN, "key": OTHER.key}},
        "buildkit:certificates.key: is not the one that cert is for; give that one",
    ),
    (
        {"certificates": OWN, "gateway": {"host": "other.example.com"}},
        "buildkit:certificates.cert: is not valid for other.example.com; take one with these among "
        "its SANs, which are build.example.com",
    ),
    (
        {"mode": "pod", "clients": {}, "certificates": {"secrets": ["tls", "combined"]}},
        "buildkit:certificates.secrets[1]: 'combined': holds a client's certificate too, and there "
        "is no client; name one below clients",
    ),
    # Registries.
    (
        {"registries": {"r:5000": {"http": True, "insecure": True}}},
        'buildkit:registries["r:5000"].insecure: is of TLS, and http is true; take one of them '
        "away",
    ),
    (
        {"registries": {"r": {"http": True, "ca": MINE.cert}}},
        "buildkit:registries.r.ca: is of TLS, and http is true; take one of them away",
    ),
    # Resources.
    (
        {"resources": {"requests": {"cpu": 2.5}, "limits": {"cpu": 2}}},
        "buildkit:resources.requests.cpu: '2.5': is more than its limit, 2; take as much at most",
    ),
    (
        {"resources": {"requests": {"example.com/gpu": 1}}},
        "buildkit:resources.requests[\"example.com/gpu\"]: '1': is of what Kubernetes does not "
        "share out twice; give limits the same",
    ),
    (
        {"resources": {"limits": {"example.com/gpu": 0.5}}},
        "buildkit:resources.limits[\"example.com/gpu\"]: '0.5': is no whole number; "
        "write one, as 2",
    ),
    (
        {"resources": {"requests": {"memory": "500m"}, "limits": {"ephemeral-storage": 0.5}}},
        "buildkit:resources.requests.memory: '500m': is no whole number of bytes; write it with "
        "its unit, as 4Gi\n"
        "buildkit:resources.limits.ephemeral-storage: '0.5': is no whole number of bytes; write it "
        "with its unit, as 4Gi",
    ),
    (
        {"resources": {"limits": {"cpu": 2, "hugepages-2Mi": "3Mi"}}},
        "buildkit:resources.limits.hugepages-2Mi: '3Mi': is no multiple of 2Mi; take one",
    ),
    (
        {"resources": {"limits": {"hugepages-2Mi": "4Mi"}}},
        "buildkit:resources.limits.hugepages-2Mi: '4Mi': needs cpu or memory beside it; set one of "
        "them as well",
    ),
    # buildkitd.toml.
    (
        {"buildkitd": {"root": "/cache"}},
        "buildkit:buildkitd.root: is where the volume is; take it away",
    ),
    (
        {"buildkitd": {"root": None}},
        "buildkit:buildkitd.root: is where the volume is; take it away",
    ),
    (
        {"buildkitd": {"grpc": {"address": ["tcp://0.0.0.0:1"], "tls": {}}}},
        "buildkit:buildkitd.grpc.address: is what the mode sets; take it away\n"
        "buildkit:buildkitd.grpc.tls: is what the mode sets; take it away",
    ),
    (
        {"buildkitd": {"worker": {"oci": {"max-parallelism": 4}}}},
        "buildkit:buildkitd.worker.oci.max-parallelism: is buildkit:maxParallelism here; set that",
    ),
    (
        {"buildkitd": {"worker": {"oci": {"gckeepstorage": "1GB"}}}},
        "buildkit:buildkitd.worker.oci.gckeepstorage: is "
        "buildkit:garbageCollection.reservedSpace here; set that",
    ),
    (
        {"buildkitd": {"worker": {"oci": {"minFreeSpace": "1GB"}}}},
        "buildkit:buildkitd.worker.oci.minFreeSpace: is buildkit:garbageCollection.minFreeSpace "
        "here; set that",
    ),
    (
        {"buildkitd": {"registry": {"docker.io": {"http": True}}}},
        'buildkit:buildkitd.registry["docker.io"].http: is buildkit:registries.HOST.http here; '
        "set that",
    ),
    (
        {"buildkitd": {"dns": {"nameservers": ["1.1.1.1", None]}}},
        "buildkit:buildkitd.dns.nameservers[1]: is empty, which TOML can't say; take it away, or "
        "write a value",
    ),
    (
        {"buildkitd": {"history": {"maxAge": 2**63}}},
        "buildkit:buildkitd.history.maxAge: 9223372036854775808: is too large for TOML; take less "
        "than 2^63",
    ),
    (
        {"buildkitd": {"log": "debug"}},
        "buildkit:buildkitd.log: 'debug': is no map; write its keys below it, one a line",
    ),
    (
        {"buildkitd": {"insecure-entitlements": "network.host"}},
        "buildkit:buildkitd.insecure-entitlements: 'network.host': is no list; write its items "
        "below it, one a line, each after a hyphen",
    ),
    (
        {"buildkitd": {"worker": {"oci": {"gcpolicy": [{"all": "yes", "keepBytes": "much"}]}}}},
        "buildkit:buildkitd.worker.oci.gcpolicy[0].all: 'yes': is neither true nor false; write "
        "one of them\n"
        "buildkit:buildkitd.worker.oci.gcpolicy[0].keepBytes: 'much': is no size; write it as "
        "512MB, 10% or a number of bytes",
    ),
    (
        {"buildkitd": {"history": {"maxAge": "2 days", "maxEntries": "50"}}},
        "buildkit:buildkitd.history.maxAge: '2 days': is no time; write it as 48h or a number of "
        "seconds\n"
        "buildkit:buildkitd.history.maxEntries: '50': is no whole number; write one, as 2",
    ),
    # Builds.
    (
        {"mode": "job", "job": {}},
        "buildkit:job: has neither context nor files; give one of them: what to build",
    ),
    (
        {"mode": "job", "job": {**GIT, "files": {"Dockerfile": "FROM scratch"}}},
        "buildkit:job: has both context and files; take one of them away",
    ),
    (
        {"mode": "job", "job": {"files": {"Dockerfile.dev": "FROM scratch"}}},
        "buildkit:job.files: lacks Dockerfile; write it below, or name the Dockerfile as "
        "job.dockerfile",
    ),
    (
        {"mode": "job", "job": {"files": {"Dockerfile": "", "a/b": "", "a": ""}}},
        'buildkit:job.files["a/b"]: is in a, which is a file too; rename one of them',
    ),
    (
        {"mode": "job", "job": {"files": {"Dockerfile": "é" * 500_001}}},
        "buildkit:job.files: has 1000002 bytes in all, and a ConfigMap takes 1000000; build a Git "
        "repository",
    ),
    (
        {"mode": "job", "job": {**GIT, "outputs": [{"name": "r.org/a"}]}},
        "buildkit:job.outputs[0].type: is missing; take image, local, tar, oci, docker",
    ),
    (
        {"mode": "job", "job": {**GIT, "outputs": [{"type": "registry", "name": "r.org/a"}]}},
        "buildkit:job.outputs[0].type: 'registry': is none of its values; take image, local, tar, "
        "oci, docker",
    ),
    (
        {"mode": "job", "job": {**GIT, "outputs": [{"type": "image", "push": True}]}},
        "buildkit:job.outputs[0].name: is missing, and push is true; write it as REGISTRY/NAME:TAG",
    ),
    (
        {"mode": "job", "job": {**GIT, "outputs": [{"type": "oci"}]}},
        "buildkit:job.outputs[0].dest: is missing, and type is oci; write it",
    ),
    (
        {"mode": "job", "job": {**GIT, "cacheTo": [{"type": "registry", "mode": "max"}]}},
        "buildkit:job.cacheTo[0].ref: is missing, and type is registry; write it",
    ),
    (
        {"mode": "job", "job": {**GIT, "frontend": "gateway.v0"}},
        "buildkit:job.options.source: is missing, and frontend is gateway.v0; name the frontend's "
        "image",
    ),
]


@pytest.mark.parametrize(
    ("keys", "lines"), MISTAKES, ids=[lines.split(": ")[0] for _, lines in MISTAKES]
)
def test_what_does_not_go_together_is_said_with_its_key(keys: dict[str, Any], lines: str) -> None:
    assert complaints(config(**keys)) == lines.split("\n")


FITTING: list[dict[str, Any]] = [
    {"mode": "pod", "gateway": {"host": "build.example.com", "service": "NodePort"}},
    {"mode": "pod", "clients": {}},
    {"mode": "pod", "volume": {"kind": "claim", "storageClass": "fast"}},
    {"mode": "pod", "gateway": {"service": "LoadBalancer"}},
    {"mode": "statefulset", "clients": {}, "gateway": {"enabled": False}},
    {"mode": "statefulset", "replicas": "3", "volume": {"protect": False}},
    {"mode": "job", "job": GIT, "gateway": {"host": "a.org"}, "clients": {}},
    {"mode": "job", "job": GIT, "volume": {}},
    {"mode": "pod", "monitoring": {"dashboard": False, "labels": {"release": "prometheus"}}},
    {"monitoring": {"podMonitor": True, "rules": True, "dashboard": True}},
    {"volume": {"kind": "claim"}, "replicas": "1"},
    {"volume": {"kind": "claim"}, "gateway": {"hold": 130}, "drain": {"timeout": 10}},
    {"mode": "statefulset", "replicas": 2, "gateway": {"hold": 5}},
    {"gateway": {"hold": 5}},
    # Of the node's disk, which is no emptyDir's.
    {"volume": {"size": "50Gi"}, "garbageCollection": {"minFreeSpace": "2Ti"}},
    {"garbageCollection": {"reservedSpace": "90%", "maxUsedSpace": "50Gi", "minFreeSpace": 0}},
    {"createNamespace": "false", "namespace": "builds"},
    {"certificates": OWN, "gateway": {"host": "build.example.com"}},
    {"certificates": {"existingSecret": "mine"}, "clients": {"a": {"san": "a.example.com"}}},
    {"certificates": {"secrets": ["combined", "tls"]}},
    {"resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": 2, "example.com/gpu": 1}}},
    {"buildkitd": {"worker": {"oci": {"gc": True}}, "registry": {"r": {"keypair": []}}}},
    {"buildkitd": {"history": {"maxAge": "1h30m"}, "system": {"platformsCacheMaxAge": 60}}},
    {"buildkitd": {"a key": {"of": ["another", "version"]}}},
    {"mode": "job", "job": GIT, "buildkitd": {"history": {"maxEntries": 1}}},
]


@pytest.mark.parametrize("keys", FITTING, ids=lambda keys: "-".join(keys))
def test_what_goes_together_is_taken(keys: dict[str, Any]) -> None:
    parse(config(**keys))


def test_clients_that_are_missing_are_asked_for() -> None:
    assert complaints({}) == [
        "buildkit:clients: is missing; write at least one name below it, as `dev: {}`"
    ]


def with_mode(mode: Mode, **keys: Any) -> dict[str, str]:
    """A configuration of *mode*, with what it can't do without."""
    return config(mode=mode.value, **({"job": GIT} if MODES[mode].builds else {}), **keys)


@pytest.mark.parametrize("mode", Mode)
def test_each_mode_has_the_default_volume_and_gateway_of_the_table(mode: Mode) -> None:
    settings = parse(with_mode(mode))
    assert settings.has_gateway is bool(MODES[mode].gateway)
    assert settings.volume_kind is next(iter(MODES[mode].volumes), None)


def keys_below(section: type[Section], *above: str) -> Iterator[str]:
    """Every key that is the same in all stacks, with dots between."""
    for key, field in zip(section.keys(), section.model_fields.values(), strict=True):
        yield ".".join([*above, key])
        below = section_of(field.annotation)
        if below and get_origin(field.annotation) is not dict:
            yield from keys_below(below, *above, key)


def test_rules_read_keys_that_there_are() -> None:
    read = {key for rule in RULES for key in rule.reads}
    assert read <= {*keys_below(Settings)}
