"""What the cluster is asked before anything is made, by a stand-in for its API server."""

import base64
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pytest
import yaml
from pulumi.runtime import config as pulumi_config
from pulumi_buildkit import (
    BuildkitDeployment,
    BuildkitPod,
    BuildkitStatefulSet,
    VolumeKind,
    autoscaler,
    monitoring,
)

from settings import Mode, Settings, cluster, load, parse, preflight
from tests.envoy_gateway import Authority
from tests.recording import REPO, record

CORE = "/api/v1/namespaces/build"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
CLAIMS = f"{CORE}/persistentvolumeclaims"
Object = dict[str, Any]


@dataclass
class Api:
    """An API server that answers with *objects*, by path, and `404` or another status."""

    objects: dict[str, Object] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def kubeconfig(self) -> Object:
        def named(kind: str, **of: Any) -> list[Object]:
            return [{"name": "stub", kind: of}]

        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stub",
            "clusters": named("cluster", server=f"http://127.0.0.1:{self.port}"),
            "contexts": named("context", cluster="stub", user="stub"),
            # Longer than any path, as certificates are.
            "users": named("user", token="secret" * 1000),
        }


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    stub = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            stub.asked.append(self.path)
            found = stub.objects.get(path)
            status = stub.statuses.get(path, 200 if found is not None else 404)
            body = json.dumps(found if status == 200 else {"kind": "Status"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.port = server.server_port
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(stub.kubeconfig()))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield stub
        server.shutdown()
        thread.join()


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
    assert new_enough.asked == ["/version/"]


def test_of_several_kubeconfigs_the_first_says_which_cluster(
    new_enough: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, current in (("first", "stub"), ("second", "away")):
        (tmp_path / name).write_text(yaml.safe_dump(contexts(new_enough, current)))
    files = [tmp_path / "missing", tmp_path / "first", tmp_path / "second"]
    monkeypatch.setenv("KUBECONFIG", ":".join(map(str, files)))
    assert preflight.check(settings(security="userns")) == []
    assert new_enough.asked == ["/version/"]


def test_a_stack_is_refused_for_what_the_cluster_says(api: Api) -> None:
    api.objects["/version/"] = version("1", "32")
    with pytest.raises(
        pulumi.RunError, match=r"can't be used:\n  buildkit:security: 'userns': need"
    ):
        record(load, {"buildkit:mode": "pod", "buildkit:security": "userns"})
