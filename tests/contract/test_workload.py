"""BuildkitPod, BuildkitDeployment and BuildkitStatefulSet: what holds for all three."""

import json
from typing import Any

import pytest
from pulumi_buildkit import SecretLayout, Security, default_image

from tests.contract.workloads import (
    CLAIM,
    COMPONENTS,
    EACH,
    EMPTY_DIR,
    NO_PORT,
    VARIANTS,
    Workload,
    buildkitd,
    environment,
    make,
)
from tests.official_images import missing
from tests.recording import Resource

DATA = {Security.ROOTLESS: "/home/user/.local/share/buildkit"}
"""Where the images keep their cache, if not in /var/lib/buildkit."""
LABEL = {"app": "buildkitd"}
CAN_DO_WITHOUT_PORT = pytest.mark.parametrize("kind", ["Pod", "StatefulSet"])
STOPS_FIRST = pytest.mark.parametrize(
    ("kind", "volume"),
    [
        ("Pod", EMPTY_DIR),
        ("Pod", CLAIM),
        ("StatefulSet", EMPTY_DIR),
        ("StatefulSet", CLAIM),
        ("Deployment", CLAIM),
    ],
    ids=lambda value: value if isinstance(value, str) else value["kind"].value,
)


def secure(kind: str, security: Security, **args: Any) -> Workload:
    return make(kind, daemon={"security": security}, **args)


# Security variants


@EACH
def test_rootless_is_the_default(kind: str) -> None:
    assert make(kind).object.inputs == secure(kind, Security.ROOTLESS).object.inputs


@EACH
@VARIANTS
def test_the_image_is_the_official_one_of_the_variant(kind: str, security: Security) -> None:
    spec = secure(kind, security).template["spec"]
    assert buildkitd(spec)["image"] == default_image(security)


@EACH
def test_a_given_image_is_used_as_it_is(kind: str) -> None:
    image = "mirror:5000/buildkit@sha256:" + "0" * 64
    assert buildkitd(make(kind, daemon={"image": image}).template["spec"])["image"] == image


@EACH
@VARIANTS
def test_the_image_s_own_entry_point_starts_buildkitd(kind: str, security: Security) -> None:
    # The rootless image starts it under RootlessKit, the other one sets cgroups up first.
    assert "command" not in buildkitd(secure(kind, security).template["spec"])


@EACH
@VARIANTS
def test_only_rootless_runs_as_a_user_of_the_node(kind: str, security: Security) -> None:
    context = buildkitd(secure(kind, security).template["spec"])["securityContext"]
    rootless = security is Security.ROOTLESS
    assert context.get("privileged", False) is not rootless
    assert context.get("runAsUser") == (1000 if rootless else None)


@EACH
def test_rootless_has_what_its_helpers_need_and_a_root_that_it_cannot_write_to(kind: str) -> None:
    made = secure(kind, Security.ROOTLESS)
    context = buildkitd(made.template["spec"])["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["SETUID", "SETGID"]}
    assert context["readOnlyRootFilesystem"] is True
    # Those of the image that its user may write to: https://github.com/moby/buildkit/blob/master/Dockerfile
    for directory in ("/tmp", "/run/user/1000", "/home/user/.local/tmp"):
        assert made.mounts()[directory]["emptyDir"] == {}


@EACH
@VARIANTS
def test_only_userns_asks_the_kubelet_for_a_user_namespace(kind: str, security: Security) -> None:
    host_users = secure(kind, security).template["spec"].get("hostUsers")
    assert host_users is (False if security is Security.USERNS else None)


@EACH
@VARIANTS
def test_probes_ask_the_socket_that_buildkitd_listens_on(kind: str, security: Security) -> None:
    container = buildkitd(secure(kind, security).template["spec"])
    for probe in ("startupProbe", "livenessProbe"):
        (socket,) = (
            word for word in container[probe]["exec"]["command"] if word.startswith("unix://")
        )
        assert socket in container["args"]


@EACH
def test_a_probe_that_gives_up_kills_at_once_and_does_not_wait_for_builds(kind: str) -> None:
    container = buildkitd(make(kind).template["spec"])
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["terminationGracePeriodSeconds"] == 10


@EACH
@VARIANTS
def test_the_cache_is_where_the_image_keeps_it(kind: str, security: Security) -> None:
    directory = DATA.get(security, "/var/lib/buildkit")
    assert "emptyDir" in secure(kind, security, volume=EMPTY_DIR).mounts()[directory]


# Who may connect


@EACH
@VARIANTS
def test_no_one_talks_to_buildkitd_over_tcp_without_a_certificate(
    kind: str, security: Security
) -> None:
    made = secure(kind, security)
    args = buildkitd(made.template["spec"])["args"]
    files = [args[args.index(flag) + 1] for flag in ("--tlscacert", "--tlscert", "--tlskey")]
    assert "tcp://0.0.0.0:1234" in args
    assert files == ["/certs/ca.pem", "/certs/cert.pem", "/certs/key.pem"]
    assert made.mounts()["/certs"]["secret"]["secretName"] == "daemon-certs"


@EACH
@VARIANTS
def test_the_key_is_readable_for_buildkitd_alone(kind: str, security: Security) -> None:
    made = secure(kind, security)
    spec = made.template["spec"]
    group = spec.get("securityContext", {}).get("fsGroup", 0)
    user = buildkitd(spec)["securityContext"].get("runAsUser", 0)
    assert made.mounts()["/certs"]["secret"]["defaultMode"] == 0o440
    assert group == user


@EACH
@pytest.mark.parametrize(
    ("layout", "keys"),
    [
        (SecretLayout.DAEMON, ["ca.pem", "cert.pem", "key.pem"]),
        (SecretLayout.ENVOY, ["ca.pem", "server.pem", "server-key.pem"]),
        (SecretLayout.COMBINED, ["ca.crt", "server.crt", "server.key"]),
        (SecretLayout.TLS, ["ca.crt", "tls.crt", "tls.key"]),
    ],
)
def test_a_secret_of_any_layout_is_mounted_as_buildkitd_s_own_files(
    kind: str, layout: SecretLayout, keys: list[str]
) -> None:
    made = make(kind, certificates_layout=layout)
    items = made.mounts()["/certs"]["secret"]["items"]
    assert [(item["key"], item["path"]) for item in items] == [
        *zip(keys, ("ca.pem", "cert.pem", "key.pem"), strict=True)
    ]
    required = {"secretKeyRef": {"name": "daemon-certs", "key": keys[0]}}
    assert environment(made.template["spec"])["CERTS_CA"] == required


@CAN_DO_WITHOUT_PORT
def test_without_a_certificate_buildkitd_listens_on_its_socket_only(kind: str) -> None:
    made = make(kind, **NO_PORT)
    container = buildkitd(made.template["spec"])
    addresses = [arg for arg in container["args"] if "://" in arg]
    assert addresses == ["unix:///run/user/1000/buildkit/buildkitd.sock"]
    assert not {"ports", "env"} & set(container)
    assert "/certs" not in made.mounts()
    assert "tcp" not in str(made.proof)
    services = [service.name for service in made.recording.of("Service")]
    assert "buildkitd" not in services


@EACH
def test_the_service_leads_to_the_port_that_buildkitd_listens_on(kind: str) -> None:
    made = make(kind)
    spec = made.recording.one("Service", "buildkitd").inputs["spec"]
    (port,) = buildkitd(made.template["spec"])["ports"]
    assert spec["ports"] == [{"port": 1234, "targetPort": port["name"]}]
    assert port["containerPort"] == 1234
    assert spec["selector"].items() <= made.template["metadata"]["labels"].items()


@EACH
def test_the_service_is_there_while_no_pod_is(kind: str) -> None:
    # A headless one would be no host at all, and Envoy holds no build for no host.
    assert "clusterIP" not in make(kind).recording.one("Service", "buildkitd").inputs["spec"]


@EACH
def test_an_update_does_not_wait_for_the_service_of_a_buildkitd_that_is_not_ready(
    kind: str,
) -> None:
    service = make(kind).recording.one("Service", "buildkitd")
    assert service.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


# The trial


@STOPS_FIRST
@VARIANTS
def test_the_trial_runs_what_the_pod_runs(
    kind: str, volume: dict[str, Any], security: Security
) -> None:
    made = secure(kind, security, volume=volume)
    trial, pod = made.proof["spec"], made.template["spec"]
    flags = environment(trial)["BUILDKITD_FLAGS"].split()
    socket, *args = buildkitd(pod)["args"][1:]
    assert socket.startswith("unix://")
    assert flags == args
    assert buildkitd(trial)["image"] == buildkitd(pod)["image"]
    assert buildkitd(trial)["securityContext"] == buildkitd(pod)["securityContext"]
    assert trial["securityContext"] == pod["securityContext"]
    assert trial.get("hostUsers") == pod.get("hostUsers")
    assert environment(trial)["CERTS_CA"] == environment(pod)["CERTS_CA"]
    for directory in ("/certs", "/etc/buildkit"):
        assert made.mounts(made.proof)[directory] == made.mounts()[directory]


@STOPS_FIRST
@VARIANTS
def test_the_trial_has_a_cache_of_its_own(
    kind: str, volume: dict[str, Any], security: Security
) -> None:
    made = secure(kind, security, volume=volume)
    directory = DATA.get(security, "/var/lib/buildkit")
    assert made.mounts(made.proof)[directory]["emptyDir"] == {}


@VARIANTS
def test_the_trial_starts_buildkitd_as_the_image_does(security: Security) -> None:
    # What a privileged container sees of cgroups is the node's, until the entry point hides it.
    spec = secure("Pod", security).proof["spec"]
    started = environment(spec)["BUILDKITD"]
    rootless = security is Security.ROOTLESS
    assert started == ("buildkitd" if rootless else "buildkitd-entrypoint")
    assert not missing(buildkitd(spec)["image"], [started])


@STOPS_FIRST
def test_nothing_stops_before_the_trial_has_ended(kind: str, volume: dict[str, Any]) -> None:
    made = make(kind, volume=volume)
    assert made.recording.one("Job").urn in made.object.request.dependencies


@STOPS_FIRST
def test_a_trial_that_failed_is_made_again_and_says_why(kind: str, volume: dict[str, Any]) -> None:
    made = make(kind, volume=volume)
    job = made.recording.one("Job").inputs
    assert job["spec"]["backoffLimit"] == 0
    assert job["metadata"]["annotations"]["pulumi.com/replaceUnready"] == "true"
    assert made.proof["spec"]["restartPolicy"] == "Never"
    container = buildkitd(made.proof["spec"])
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


@STOPS_FIRST
def test_no_service_finds_the_trial_s_pod(kind: str, volume: dict[str, Any]) -> None:
    made = make(kind, volume=volume)
    labels = made.proof["metadata"]["labels"]
    for service in made.recording.of("Service"):
        assert not service.inputs["spec"]["selector"].items() <= labels.items()


def test_what_surges_needs_no_trial() -> None:
    assert not [*make("Deployment", volume=EMPTY_DIR).recording.of("Job")]


def test_the_trial_takes_of_an_overlay_what_bears_on_a_start() -> None:
    overlay = {
        "metadata": {"labels": {"team": "a"}},
        "spec": {
            "nodeSelector": {"disk": "fast"},
            "containers": [
                {
                    "name": "buildkitd",
                    "env": [{"name": "HTTP_PROXY", "value": "http://proxy"}],
                    "image": "mirror:5000/buildkit",
                    "livenessProbe": {"periodSeconds": 60},
                },
                {"name": "sidecar", "image": "sidecar"},
            ],
        },
    }
    made = make("Pod", daemon={"pod": overlay})
    spec = made.proof["spec"]
    assert [container["name"] for container in spec["containers"]] == ["buildkitd"]
    assert environment(spec)["HTTP_PROXY"] == "http://proxy"
    assert buildkitd(spec)["image"] == "mirror:5000/buildkit"
    assert "livenessProbe" not in buildkitd(spec)
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "disk": "fast"}
    assert made.proof["metadata"]["labels"]["team"] == "a"
    assert len(made.template["spec"]["containers"]) == 2


def test_the_trial_finds_room_beside_the_pods_that_run() -> None:
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": LABEL}}
    evenly = {**apart, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    fast = {"key": "disk", "operator": "In", "values": ["fast"]}
    on_fast_nodes = {"nodeSelectorTerms": [{"matchExpressions": [fast]}]}
    spec = {
        "hostNetwork": True,
        "topologySpreadConstraints": [evenly],
        "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]},
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": on_fast_nodes},
        },
    }
    limits = {"cpu": "4", "memory": "8Gi", "example.com/gpu": "1"}
    resources: Any = {"limits": limits, "requests": limits}
    made = make("StatefulSet", daemon={"pod": {"spec": spec}, "resources": resources})
    assert spec.items() <= made.template["spec"].items()
    trial = made.proof["spec"]
    assert not {"hostNetwork", "topologySpreadConstraints"} & set(trial)
    assert [*trial["affinity"]] == ["nodeAffinity"]
    assert buildkitd(trial)["resources"] == {
        "limits": {"cpu": "4", "memory": "8Gi"},
        "requests": {"cpu": "0", "memory": "0"},
    }


# Where the cache is kept

CLAIMS = pytest.mark.parametrize(
    ("kind", "args", "names"),
    [
        ("Pod", {}, ["buildkitd-pod"]),
        ("Deployment", {}, ["buildkitd"]),
        ("StatefulSet", {"replicas": 3}, ["buildkitd-0", "buildkitd-1", "buildkitd-2"]),
    ],
    ids=[*COMPONENTS],
)


@VARIANTS
@CLAIMS
def test_claims_are_called_after_their_pods_and_who_can_read_them(
    kind: str, args: Any, names: list[str], security: Security
) -> None:
    cache = "rootless-cache" if security is Security.ROOTLESS else "root-cache"
    claims = secure(kind, security, volume=CLAIM, **args).claims
    assert [c.inputs["metadata"]["name"] for c in claims] == [f"{cache}-{name}" for name in names]


@VARIANTS
@pytest.mark.parametrize("kind", ["Pod", "Deployment"])
def test_the_pod_s_cache_is_its_claim(kind: str, security: Security) -> None:
    made = secure(kind, security, volume=CLAIM)
    (claim,) = made.claims
    volume = made.mounts()[DATA.get(security, "/var/lib/buildkit")]
    assert volume["persistentVolumeClaim"] == {"claimName": claim.inputs["metadata"]["name"]}


@EACH
def test_a_claim_is_protected_unless_told_otherwise(kind: str) -> None:
    (claim,) = make(kind, volume=CLAIM).claims
    assert claim.request.protect
    (let_go,) = make(kind, volume={**CLAIM, "protect": False}).claims
    assert not let_go.request.protect


@EACH
def test_a_claim_asks_for_what_is_said(kind: str) -> None:
    (claim,) = make(kind, volume={**CLAIM, "size": "200Gi", "storage_class": "ssd"}).claims
    assert claim.inputs["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "ssd",
        "resources": {"requests": {"storage": "200Gi"}},
    }


@EACH
def test_a_claim_is_of_the_cluster_s_own_class_and_of_50_gib_by_default(kind: str) -> None:
    (claim,) = make(kind, volume=CLAIM).claims
    assert claim.inputs["spec"]["resources"]["requests"]["storage"] == "50Gi"
    assert "storageClassName" not in claim.inputs["spec"]


STORED = {**EMPTY_DIR, "size": "40Gi"}


@EACH
def test_the_size_of_an_empty_dir_is_requested_of_the_node(kind: str) -> None:
    asked = make(kind, volume=STORED, daemon={"resources": {"requests": {"cpu": "2"}}})
    container = buildkitd(asked.template["spec"])
    assert container["resources"] == {"requests": {"cpu": "2", "ephemeral-storage": "40Gi"}}
    for volume in (CLAIM, EMPTY_DIR):
        assert "resources" not in buildkitd(make(kind, volume=volume).template["spec"])


@EACH
def test_what_is_asked_of_a_node_s_disk_stays(kind: str) -> None:
    own: Any = {"limits": {"ephemeral-storage": "20Gi"}}
    asked = make(kind, volume=STORED, daemon={"resources": own})
    assert buildkitd(asked.template["spec"])["resources"] == own
    spec = {"containers": [{"name": "buildkitd", "resources": own}]}
    laid_over = make(kind, volume=STORED, daemon={"pod": {"spec": spec}})
    assert buildkitd(laid_over.template["spec"])["resources"] == own


@EACH
def test_an_update_does_not_wait_for_a_claim_that_waits_for_its_pod(kind: str) -> None:
    (claim,) = make(kind, volume=CLAIM).claims
    assert claim.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


def inputs(resources: list[Resource]) -> dict[str, Any]:
    return {resource.name: resource.inputs for resource in resources}


@CLAIMS
def test_a_larger_size_grows_the_claims_and_replaces_no_workload(
    kind: str, args: Any, names: list[str]
) -> None:
    small, large = (
        inputs(make(kind, volume={**CLAIM, "size": size}, **args).recording.resources)
        for size in ("50Gi", "80Gi")
    )
    changed = {name for name in small if small[name] != large[name]}
    # What buildkitd keeps follows from the size.
    assert changed == {"buildkitd-config", *(f"rootless-cache-{name}" for name in names)}


@EACH
def test_the_size_of_an_empty_dir_is_its_limit(kind: str) -> None:
    made = make(kind, volume={**EMPTY_DIR, "size": "20Gi"})
    assert made.mounts()[DATA[Security.ROOTLESS]]["emptyDir"] == {"sizeLimit": "20Gi"}
    assert not made.claims


@EACH
def test_an_empty_dir_has_no_limit_by_default(kind: str) -> None:
    assert make(kind, volume=EMPTY_DIR).mounts()[DATA[Security.ROOTLESS]]["emptyDir"] == {}


@EACH
@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"storage_class": "ssd"}, "storage_class"),
        ({"protect": False}, "protect"),
        ({"protect": True, "storage_class": "ssd"}, "protect and storage_class"),
    ],
)
def test_what_only_a_claim_can_have_is_refused_of_an_empty_dir(
    kind: str, said: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=f"^buildkitd: volume: {named} can be said of a claim"):
        make(kind, volume={**EMPTY_DIR, **said})


# How long an update waits


@STOPS_FIRST
def test_an_update_waits_as_long_as_it_is_told(kind: str, volume: dict[str, Any]) -> None:
    made = make(kind, volume=volume, update_timeout=1800)
    job = made.recording.one("Job")
    for waited_for in (made.object, job):
        assert waited_for.request.customTimeouts.create == "1800s"
    assert job.inputs["spec"]["activeDeadlineSeconds"] == 1800


@EACH
def test_an_update_waits_ten_minutes_by_default(kind: str) -> None:
    assert make(kind).object.request.customTimeouts.create == "600s"


@STOPS_FIRST
def test_an_update_waits_for_the_builds_of_the_old_pod_too(
    kind: str, volume: dict[str, Any]
) -> None:
    daemon = {"drain_timeout": 100}
    timeouts = make(
        kind, volume=volume, daemon=daemon, update_timeout=60
    ).object.request.customTimeouts
    assert (timeouts.update, timeouts.delete) == ("190s", "190s")


def test_an_update_waits_for_one_pod_of_a_stateful_set_after_the_other() -> None:
    made = make("StatefulSet", replicas=3, daemon={"drain_timeout": 100}, update_timeout=60)
    assert made.object.request.customTimeouts.update == "570s"


def test_an_update_that_starts_the_new_pod_first_does_not_wait_for_the_old_one() -> None:
    made = make("Deployment", daemon={"drain_timeout": 100}, update_timeout=60)
    assert made.object.request.customTimeouts.update == "60s"


# How a pod goes


@EACH
@VARIANTS
def test_a_pod_has_the_time_that_its_builds_have_and_half_a_minute(
    kind: str, security: Security
) -> None:
    spec = make(kind, daemon={"security": security, "drain_timeout": 100}).template["spec"]
    hook = buildkitd(spec)["lifecycle"]["preStop"]["exec"]["command"]
    socket = buildkitd(spec)["args"][1]
    assert (hook[-3], hook[-1]) == (socket, "100")
    assert spec["terminationGracePeriodSeconds"] == 130


@EACH
def test_builds_have_half_an_hour_by_default(kind: str) -> None:
    assert make(kind).template["spec"]["terminationGracePeriodSeconds"] == 1830


@EACH
def test_a_pod_that_is_to_go_is_unready_at_the_next_question(kind: str) -> None:
    container = buildkitd(make(kind).template["spec"])
    probe = container["readinessProbe"]
    assert (probe["periodSeconds"], probe["failureThreshold"]) == (1, 1)
    # A kubelet that runs no command in a pod that is to go asks the port nevertheless.
    start = container["lifecycle"]["postStart"]["exec"]["command"]
    assert str(probe["tcpSocket"]["port"]) in start


@EACH
def test_cluster_autoscalers_let_a_pod_be(kind: str) -> None:
    annotations = make(kind).template["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_two_pods_never_share_a_claim() -> None:
    template = make("Deployment", volume={"kind": "claim"}).template
    (term,) = template["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["topologyKey"] == "kubernetes.io/os"
    assert term["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    # Those of another mode, or without the claim, start before this one goes.
    assert term["labelSelector"]["matchLabels"].items() > {("app", "buildkitd")}


@EACH
def test_pods_without_a_claim_may_share_a_node(kind: str) -> None:
    assert "affinity" not in make(kind, volume=EMPTY_DIR).template["spec"]


# What it says of itself


@EACH
def test_the_outputs_are_the_service_that_clients_dial(kind: str) -> None:
    outputs = make(kind).outputs
    assert (outputs["host"], outputs["port"]) == ("buildkitd.build.svc", 1234)


@EACH
def test_the_workload_is_what_kubectl_calls_it(kind: str) -> None:
    made = make(kind)
    name = made.object.inputs["metadata"]["name"]
    assert made.outputs["workload"] == f"{kind.lower()}/{name}"


@EACH
def test_buildkitd_reads_the_configuration_that_is_mounted(kind: str) -> None:
    made = make(kind)
    args = buildkitd(made.template["spec"])["args"]
    directory = args[args.index("--config") + 1].removesuffix("/buildkitd.toml")
    assert made.mounts()[directory]["configMap"]["name"].startswith("buildkitd-config")


# What can be seen of it


@EACH
@VARIANTS
def test_prometheus_reaches_metrics_and_nothing_else_of_the_debug_listener(
    kind: str, security: Security
) -> None:
    made = make(kind, daemon={"security": security, "metrics": {}})
    spec, annotations = made.template["spec"], made.template["metadata"]["annotations"]
    container, (sidecar,) = buildkitd(spec), spec["initContainers"]
    debug = container["args"][container["args"].index("--debugaddr") + 1]
    directory = debug.removeprefix("unix://").rpartition("/")[0]
    assert "emptyDir" in made.mounts()[directory]

    assert sidecar["restartPolicy"] == "Always"
    config = json.loads(sidecar["args"][sidecar["args"].index("--config-yaml") + 1])
    assert "admin" not in config
    (listener,) = config["static_resources"]["listeners"]
    port = listener["address"]["socket_address"]["port_value"]
    assert annotations["prometheus.io/port"] == str(port)
    (route,) = routes(listener)
    assert route["match"] == {"path": annotations["prometheus.io/path"]}


def routes(listener: dict[str, Any]) -> list[dict[str, Any]]:
    ((manager,),) = (chain["filters"] for chain in listener["filter_chains"])
    (host,) = manager["typed_config"]["route_config"]["virtual_hosts"]
    return host["routes"]


@EACH
def test_nobody_sees_more_of_buildkitd_by_default(kind: str) -> None:
    template = make(kind).template
    assert "initContainers" not in template["spec"]
    assert "--debugaddr" not in buildkitd(template["spec"])["args"]
    assert not any(key.startswith("prometheus") for key in template["metadata"]["annotations"])


@EACH
def test_traces_go_where_they_are_told_to_go(kind: str) -> None:
    traces = {"endpoint": "http://collector:4317"}
    spec = make(kind, daemon={"traces": traces}).template["spec"]
    variables = {k: v for k, v in environment(spec).items() if k.startswith("OTEL")}
    assert variables == {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
    }


@EACH
def test_a_collector_that_is_away_keeps_nothing_from_being_ready(kind: str) -> None:
    made = make(kind, daemon={"traces": {"endpoint": "http://collector:4317"}}, volume=CLAIM)
    container = buildkitd(made.template["spec"])
    for probe in ("startupProbe", "livenessProbe"):
        command = container[probe]["exec"]["command"]
        assert command[:3] == ["env", "-u", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
    assert not [name for name in environment(made.proof["spec"]) if name.startswith("OTEL")]
