"""Gateway: what it mounts, how it is exposed, and what changes under it without a restart."""

import json
import re
from typing import Any

import pytest
from pulumi_buildkit import Gateway, Protocol, SecretLayout, ServiceType, _xds
from pulumi_buildkit.secret_layout import LAYOUTS

from tests.recording import NODE_PORT, Recording, record

DEFAULTS = {
    "namespace": "build",
    "upstream_host": "buildkitd.build.svc",
    "upstream_secret": "internal-gateway-certs",
    "server_secret": "edge-envoy-certs",
    "clients": {"dev": {}},
}


def make(**args: Any) -> Recording:
    merged: Any = {**DEFAULTS, **args}
    return record(lambda: Gateway("gateway", merged))


def bootstrap(made: Recording) -> str:
    return made.one("ConfigMap", "gateway-bootstrap").inputs["data"]["envoy.json"]


def pod(made: Recording) -> dict[str, Any]:
    return made.one("Deployment").inputs["spec"]["template"]["spec"]


def endpoint(made: Recording) -> str:
    return made.outputs_of("Gateway").values["endpoint"]


def test_the_endpoint_is_the_service_in_the_cluster_by_default() -> None:
    assert endpoint(make()) == "gateway.build.svc:1234"


def test_the_endpoint_is_the_given_host_and_port() -> None:
    assert endpoint(make(host="build.example.com", port=443)) == "build.example.com:443"


def test_the_endpoint_of_an_ipv6_address_has_brackets() -> None:
    assert endpoint(make(host="fd00::1")) == "[fd00::1]:1234"


def test_the_endpoint_has_the_node_s_port_that_kubernetes_chose() -> None:
    made = make(host="node", service_type=ServiceType.NODE_PORT)
    assert endpoint(made) == f"node:{NODE_PORT}"


def test_the_endpoint_has_the_node_s_port_that_was_given() -> None:
    made = make(host="node", service_type=ServiceType.NODE_PORT, node_port=30001)
    assert endpoint(made) == "node:30001"


@pytest.mark.parametrize("service", ServiceType)
def test_the_service_is_of_the_given_type(service: ServiceType) -> None:
    assert make(service_type=service).one("Service").inputs["spec"]["type"] == service.value


@pytest.mark.parametrize("service", ServiceType)
def test_an_update_waits_for_the_service_only_where_the_cloud_gives_it_an_address(
    service: ServiceType,
) -> None:
    annotations = make(service_type=service).one("Service").inputs["metadata"]["annotations"]
    waits = "pulumi.com/skipAwait" not in annotations
    assert waits == (service is ServiceType.LOAD_BALANCER)


def test_a_pod_counts_when_clients_have_had_the_time_to_find_it() -> None:
    assert make().one("Deployment").inputs["spec"]["minReadySeconds"] > 0


def test_it_has_two_pods_and_holds_for_ten_minutes_by_default() -> None:
    made = make()
    assert made.one("Deployment").inputs["spec"]["replicas"] == 2
    assert bootstrap(made) == bootstrap(make(hold=600, protocol=Protocol.HTTP2))


def test_a_gateway_without_clients_is_refused() -> None:
    with pytest.raises(ValueError, match="gateway: clients: there are none; name at least one"):
        make(clients={})


def test_the_order_of_the_clients_does_not_matter() -> None:
    # Other languages send maps in an order that differs from run to run.
    one, other = make(clients={"dev": {}, "ci": {}}), make(clients={"ci": {}, "dev": {}})
    files = [made.one("ConfigMap", "gateway-xds").inputs for made in (one, other)]
    assert files[0] == files[1]


def test_a_changed_list_of_clients_rolls_no_pod() -> None:
    one, two = make(clients={"dev": {}}), make(clients={"dev": {}, "ci": {"san": "client"}})
    assert one.one("Deployment").inputs == two.one("Deployment").inputs
    assert bootstrap(one) == bootstrap(two)
    assert one.one("ConfigMap", "gateway-xds").inputs != two.one("ConfigMap", "gateway-xds").inputs


def test_a_client_is_known_by_the_san_that_is_given_or_by_its_uri() -> None:
    clients = {"dev": {}, "ci": {"san": "client"}, "runner": {"san": "10.0.0.9"}}
    documents = make(clients=clients).one("ConfigMap", "gateway-xds").inputs["data"]
    (secret,) = json.loads(documents["clients.json"])["resources"]
    assert secret["validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "DNS", "matcher": {"exact": "client"}},
        {"san_type": "URI", "matcher": {"exact": "spiffe://buildkit/client/dev"}},
        {"san_type": "IP_ADDRESS", "matcher": {"exact": "10.0.0.9"}},
    ]


def files(made: Recording, volume: str) -> dict[str, str]:
    """What the keys of a volume's Secret are called in the pod."""
    (source,) = (v["secret"] for v in pod(made)["volumes"] if v["name"] == volume)
    return {item["key"]: item["path"] for item in source["items"]}


def named(made: Recording, directory: str) -> set[str]:
    """The files in *directory* that Envoy is told to read."""
    documents = "".join(made.one("ConfigMap", "gateway-xds").inputs["data"].values())
    return set(re.findall(rf'"{directory}/([^"]+)"', documents))


@pytest.mark.parametrize("layout", SecretLayout)
def test_a_server_s_secret_of_any_layout_becomes_the_files_that_envoy_reads(
    layout: SecretLayout,
) -> None:
    made = make(server_secret_layout=layout)
    assert list(files(made, "server")) == list(LAYOUTS[layout].keys)
    assert set(files(made, "server").values()) == named(made, _xds.SERVER_CERTIFICATES)


def test_the_server_s_secret_has_envoy_s_layout_by_default() -> None:
    assert make().resources == make(server_secret_layout="envoy").resources


def test_a_client_s_secret_becomes_the_files_that_envoy_shows_buildkitd() -> None:
    made = make(server_secret_layout=SecretLayout.TLS)
    assert list(files(made, "upstream")) == ["ca.pem", "cert.pem", "key.pem"]
    assert set(files(made, "upstream").values()) == named(made, _xds.UPSTREAM_CERTIFICATES)


def test_a_secret_that_is_missing_stops_the_pod_by_its_ca() -> None:
    (container,) = pod(make(server_secret_layout=SecretLayout.TLS))["containers"]
    keys = [variable["valueFrom"]["secretKeyRef"] for variable in container["env"]]
    assert keys == [
        {"name": "edge-envoy-certs", "key": "ca.crt"},
        {"name": "internal-gateway-certs", "key": "ca.pem"},
    ]


@pytest.mark.parametrize("protocol", Protocol)
def test_what_the_bootstrap_names_is_mounted(protocol: Protocol) -> None:
    made = make(protocol=protocol)
    (container,) = pod(made)["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(made)["volumes"]}
    assert volumes[mounts["/etc/envoy/bootstrap"]]["configMap"]["name"].startswith("gateway-boot")
    assert volumes[mounts["/etc/envoy/xds"]]["configMap"]["name"] == "gateway-xds"
    assert volumes[mounts["/certs/server"]]["secret"]["secretName"] == "edge-envoy-certs"
    assert volumes[mounts["/certs/upstream"]]["secret"]["secretName"] == "internal-gateway-certs"


def test_nothing_else_on_the_node_reads_its_keys() -> None:
    secrets = [volume["secret"] for volume in pod(make())["volumes"] if "secret" in volume]
    assert [secret["defaultMode"] for secret in secrets] == [0o440, 0o440]


def test_it_runs_without_any_privilege() -> None:
    spec = pod(make())
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_clients_are_sent_where_envoy_listens() -> None:
    made = make(port=443)
    (port,) = made.one("Service").inputs["spec"]["ports"]
    (container,) = pod(made)["containers"]
    listening = {p["name"]: p["containerPort"] for p in container["ports"]}
    listeners = {
        listener["name"]: listener["address"]["socket_address"]["port_value"]
        for listener in json.loads(bootstrap(made))["static_resources"]["listeners"]
        if "address" in listener
    }
    assert port["port"] == 443
    assert listening[port["targetPort"]] == listeners["clients"]
    assert listening["health"] == listeners["health"]


def test_a_rollout_keeps_as_many_pods_as_there_were() -> None:
    strategy = make().one("Deployment").inputs["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_drained_node_takes_one_pod_at_a_time() -> None:
    assert make().one("PodDisruptionBudget").inputs["spec"]["maxUnavailable"] == 1


def test_prometheus_finds_the_pods_unless_it_is_told_of_them_otherwise() -> None:
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics"}

    def scraped(made: Recording) -> dict[str, str]:
        template = made.one("Deployment").inputs["spec"]["template"]
        ports = {p["name"]: p["containerPort"] for p in template["spec"]["containers"][0]["ports"]}
        found = template["metadata"]["annotations"]
        assert found.get("prometheus.io/port", "8082") == str(ports["metrics"])
        return {key: found[key] for key in annotations if key in found}

    assert scraped(make()) == annotations
    assert scraped(make(scraped=False)) == {}


# What it asks of its nodes


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}),
        (
            {"requests": {"memory": "512Mi"}},
            {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        ),
        (
            {"requests": {"memory": "2Gi"}},
            {"requests": {"cpu": "100m", "memory": "2Gi"}, "limits": {"memory": "2Gi"}},
        ),
        (
            {"limits": {"memory": "64Mi"}},
            {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}},
        ),
        (
            {"limits": {"cpu": "50m", "memory": "64Mi"}},
            {"limits": {"cpu": "50m", "memory": "64Mi"}},
        ),
        (
            {"requests": {"cpu": "0", "memory": "0"}, "limits": {"memory": "0"}},
            {"requests": {"cpu": "0", "memory": "0"}, "limits": {"memory": "0"}},
        ),
    ],
)
def test_it_requests_what_an_envoy_needs_unless_told_otherwise(given: Any, asked: Any) -> None:
    (envoy,) = pod(make(resources=given))["containers"]
    assert envoy["resources"] == asked


@pytest.mark.parametrize(
    ("given", "heap"),
    [({}, 2**30), ({"limits": {"memory": "100Mi"}}, 100 * 2**20), ({"limits": {"memory": "0"}}, 0)],
)
def test_envoy_stays_within_the_limit_of_its_container(given: Any, heap: int) -> None:
    overload = json.loads(bootstrap(make(resources=given))).get("overload_manager")
    if not heap:
        assert overload is None
        return
    limits = [
        monitor["typed_config"]["max_heap_size_bytes"]
        for monitor in overload["resource_monitors"]
        if monitor["name"].endswith("fixed_heap")
    ]
    assert limits == [pytest.approx(0.6 * heap, rel=0.01)]


def test_without_resources_it_requests_the_same() -> None:
    assert pod(make()) == pod(make(resources={}))
