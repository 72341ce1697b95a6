"""BuildkitDeployment: what buildkitd is given in each security variant."""

import tomllib
from typing import Any

import pytest
from pulumi_buildkit import BuildkitDeployment, RegistryArgs, Security, default_image

from tests.recording import Recording, record

VARIANTS = pytest.mark.parametrize("security", Security, ids=lambda security: security.value)


def make(**args: Any) -> Recording:
    merged: Any = {"namespace": "build", "certificates": "daemon-certs", **args}
    return record(lambda: BuildkitDeployment("buildkitd", merged))


def pod(made: Recording) -> dict[str, Any]:
    return made.one("Deployment").inputs["spec"]["template"]["spec"]


def container(made: Recording) -> dict[str, Any]:
    (only,) = pod(made)["containers"]
    return only


def buildkitd_toml(made: Recording) -> dict[str, Any]:
    return tomllib.loads(made.one("ConfigMap").inputs["data"]["buildkitd.toml"])


def mounts(made: Recording) -> dict[str, dict[str, Any]]:
    """The volumes, by where buildkitd sees them."""
    volumes = {volume["name"]: volume for volume in pod(made)["volumes"]}
    return {m["mountPath"]: volumes[m["name"]] for m in container(made)["volumeMounts"]}


def test_rootless_is_the_default() -> None:
    assert make().one("Deployment").inputs == (
        make(security=Security.ROOTLESS).one("Deployment").inputs
    )


def test_there_is_one_daemon_by_default() -> None:
    assert make().one("Deployment").inputs["spec"]["replicas"] == 1


@VARIANTS
def test_the_image_is_the_official_one_of_the_variant(security: Security) -> None:
    assert container(make(security=security))["image"] == default_image(security)


@VARIANTS
def test_a_given_image_is_used_as_it_is(security: Security) -> None:
    image = "mirror:5000/buildkit@sha256:" + "0" * 64
    assert container(make(security=security, image=image))["image"] == image


@VARIANTS
def test_the_image_s_own_entry_point_starts_buildkitd(security: Security) -> None:
    # The rootless image starts it under RootlessKit, the other one sets cgroups up first.
    assert "command" not in container(make(security=security))


@VARIANTS
def test_no_one_talks_to_buildkitd_over_tcp_without_a_certificate(security: Security) -> None:
    made = make(security=security)
    args = container(made)["args"]
    files = [args[args.index(flag) + 1] for flag in ("--tlscacert", "--tlscert", "--tlskey")]
    assert files == ["/certs/ca.pem", "/certs/cert.pem", "/certs/key.pem"]
    assert mounts(made)["/certs"]["secret"]["secretName"] == "daemon-certs"


@VARIANTS
def test_probes_ask_the_socket_that_buildkitd_listens_on(security: Security) -> None:
    made = container(make(security=security))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        socket = made[probe]["exec"]["command"][2]
        assert socket.startswith("unix://")
        assert socket in made["args"]


@VARIANTS
def test_the_key_is_readable_for_buildkitd_alone(security: Security) -> None:
    made = make(security=security)
    group = pod(made).get("securityContext", {}).get("fsGroup", 0)
    user = container(made)["securityContext"].get("runAsUser", 0)
    assert mounts(made)["/certs"]["secret"]["defaultMode"] == 0o440
    assert group == user


@VARIANTS
def test_only_rootless_runs_as_a_user_of_the_node(security: Security) -> None:
    made = make(security=security)
    privileged = container(made)["securityContext"].get("privileged", False)
    assert privileged == (security is not Security.ROOTLESS)


@VARIANTS
def test_only_userns_asks_the_kubelet_for_a_user_namespace(security: Security) -> None:
    host_users = pod(make(security=security)).get("hostUsers")
    assert host_users is (False if security is Security.USERNS else None)


@VARIANTS
def test_the_cache_is_where_the_image_keeps_it(security: Security) -> None:
    data = {Security.ROOTLESS: "/home/user/.local/share/buildkit"}
    directory = data.get(security, "/var/lib/buildkit")
    assert "emptyDir" in mounts(make(security=security))[directory]


def test_registries_are_in_buildkitd_s_configuration() -> None:
    registries = {
        "docker.io": RegistryArgs(mirrors=["mirror:5000"]),
        "mirror:5000": RegistryArgs(http=True, insecure=True),
    }
    assert buildkitd_toml(make(registries=registries)) == {"registry": registries}


def test_without_registries_buildkitd_has_its_own_defaults() -> None:
    assert buildkitd_toml(make()) == {}


def test_buildkitd_reads_the_configuration_that_is_mounted() -> None:
    made = make()
    args = container(made)["args"]
    directory = args[args.index("--config") + 1].removesuffix("/buildkitd.toml")
    assert mounts(made)[directory]["configMap"]["name"].startswith("buildkitd-config")


def test_the_outputs_are_the_service_that_the_gateway_dials() -> None:
    made = make()
    (port,) = made.one("Service").inputs["spec"]["ports"]
    assert made.outputs_of("BuildkitDeployment").values == {
        "host": "buildkitd.build.svc",
        "port": port["port"],
    }


def test_an_update_does_not_wait_for_the_service_of_a_buildkitd_that_is_not_ready() -> None:
    annotations = make().one("Service").inputs["metadata"]["annotations"]
    assert annotations["pulumi.com/skipAwait"] == "true"


def test_the_service_is_there_while_no_pod_is() -> None:
    # A headless one would be no host at all, and Envoy holds no build for no host.
    assert "clusterIP" not in make().one("Service").inputs["spec"]
