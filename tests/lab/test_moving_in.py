"""Who has a BuildKit already moves in by the commands of docs/moving-in.md."""

import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import tomli_w
import yaml
from cryptography import x509

from lab import LabError, build, lifecycle
from lab.engine import Stack
from lab.network import ADDRESS
from lab.node import until
from tests.envoy_gateway import Authority, rsa_key
from tests.lab.building import BEGUN, BUILDCTL, takes
from tests.lab.building import build as submitted
from tests.lab.conftest import Installation
from tests.lab.moving import IMAGE, PAGE, VOLUME, Old, claim_of
from tests.lab.test_engine import namespace_of
from tests.lab.test_volumes import steps_taken_from_the_cache
from tests.pages import block

OLD, NEW = "moving-out", "moving-in"
CLAIM = "cache"
SERVICE = f"buildkitd.{OLD}.svc"
TOML = tomli_w.dumps({"registry": lifecycle.REGISTRIES})

pytestmark = pytest.mark.usefixtures("jq")


@pytest.fixture(scope="module")
def upstream(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    """BuildKit's own Deployment and Service, with a claim, and certificates as by its script."""
    directory = tmp_path_factory.mktemp("moving-out")
    ca = Authority("mkcert", rsa_key)
    sans = (x509.DNSName(SERVICE), x509.IPAddress(ipaddress.ip_address(ADDRESS)))
    server = ca.issue(directory / "daemon", *sans)
    client = ca.issue(directory / "certs", x509.DNSName("client"))
    with namespace_of(lab, OLD):
        outputs = {"namespace": OLD, "endpoint": f"{ADDRESS}:{lab.node_port + 40}"}
        old = Installation(lab, outputs, directory)
        secret = ("create", "secret", "generic")
        for name, files in (("daemon", server), ("client", client)):
            old.kubectl(*secret, f"buildkit-{name}-certs", f"--from-file={files}")
        # As the chart says.
        keys = {"ca.pem": "ca.pem", "server.pem": "cert.pem", "server-key.pem": "key.pem"}
        data = [f"--from-file={key}={server / file}" for key, file in keys.items()]
        old.kubectl(*secret, "buildkit-envoy-certs", *data)
        manifest = directory / "manifest.yaml"
        manifest.write_text(yaml.safe_dump_all(upstream_objects(lab.node_port + 40)))
        old.kubectl("apply", f"--filename={manifest}")
        old.kubectl("rollout", "status", "deployment/buildkitd", "--timeout=120s")
        yield Old(old, {**exported(), "OLD": OLD, "NEW": NEW, "CLAIM": CLAIM})


def exported() -> dict[str, str]:
    """The variables that the page sets for its commands."""
    return dict(re.findall(r"(\w+)=(\S+)", block("sh", PAGE, "export OLD")))


def upstream_objects(node_port: int) -> list[dict[str, Any]]:
    """The manifest as it is, with a release's image, on a claim, and at the node's port.

    It finds images where the lab has them, and is soon ready.
    """
    examples = build.module_dir("buildkit", "github.com/moby/buildkit") / "examples" / "kubernetes"
    deployment, service = yaml.safe_load_all(
        (examples / "deployment+service.rootless.yaml").read_text()
    )
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container["image"] = IMAGE
    container["readinessProbe"]["periodSeconds"] = 1
    (cache,) = (volume for volume in pod["volumes"] if "emptyDir" in volume)
    del cache["emptyDir"]
    cache["persistentVolumeClaim"] = {"claimName": CLAIM}
    pod["volumes"].append({"name": "config", "configMap": {"name": "config"}})
    mounted = {"name": "config", "mountPath": "/home/user/.config/buildkit"}
    container["volumeMounts"].append(mounted)
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config"},
        "data": {"buildkitd.toml": TOML},
    }
    service["spec"]["type"] = "NodePort"
    service["spec"]["ports"][0]["nodePort"] = node_port
    return [claim_of(CLAIM), config, deployment, service]


@pytest.fixture(scope="module")
def moved(lab: lifecycle.Lab, upstream: Old) -> Iterator[Stack]:
    """The stack beside it, which has a namespace but no certificate yet."""
    upstream.follow("create namespace")
    stack = lab.stack("moved", {})
    yield stack
    stack.destroy()
    lab.node.kubectl("delete", "namespace", NEW)


def bring_up(upstream: Old, stack: Stack, secret: str, layout: str, **keys: Any) -> Installation:
    """What the client of the old BuildKit builds with, by its old files, when the stack is up."""
    replace(upstream, names={**upstream.names, "SECRET": secret}).follow("get secret")
    exposed = {
        "host": ADDRESS,
        "service": "NodePort",
        "nodePort": upstream.client.lab.node_port + 41,
    }
    stack.configure(
        {
            "buildkit:namespace": NEW,
            "buildkit:createNamespace": False,
            "buildkit:registries": lifecycle.REGISTRIES,
            "buildkit:gateway": exposed,
            "buildkit:certificates": {"existingSecret": secret, "layout": layout},
            "buildkit:clients": {"dev": None, "all": {"san": "client"}},
            **{f"buildkit:{key}": value for key, value in keys.items()},
        }
    )
    stack.up()
    return replace(upstream.client, outputs=stack.outputs())


def test_a_chart_s_clients_keep_their_files(upstream: Old, moved: Stack) -> None:
    client = bring_up(upstream, moved, "buildkit-envoy-certs", "envoy")
    assert client.is_let_in()


def test_upstream_s_clients_keep_their_files_their_address_and_their_cache(
    upstream: Old, moved: Stack
) -> None:
    assert steps_taken_from_the_cache(upstream.client, "moving") == 0
    client = bring_up(upstream, moved, "buildkit-daemon-certs", "daemon")
    assert steps_taken_from_the_cache(client, "moving") == 0
    with submitted(upstream.client, BUILDCTL, takes(10)) as running:
        running.wait_for(BEGUN)
        assert daemon_at(SERVICE, upstream.client) == upstream.client.pods("buildkitd")
        upstream.follow("patch service")
        until(
            lambda: daemon_at(SERVICE, upstream.client) == client.pods("buildkitd"),
            60,
            lambda: LabError("the old name does not lead to the new BuildKit"),
        )
        assert running.result("greeting")
    upstream.follow("patch persistentvolume")
    client = bring_up(upstream, moved, "buildkit-daemon-certs", "daemon", volume=VOLUME)
    assert steps_taken_from_the_cache(client, "moving") == 1


def daemon_at(host: str, client: Installation) -> list[str]:
    """The pod whose buildkitd a pod of the client's namespace meets when it dials *host*."""
    dial = ("buildctl", f"--addr=tcp://{host}:1234", "--tlsdir=/certs", "debug", "workers")
    mounted = {"name": "certs", "mountPath": "/certs"}
    pod = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "client",
                "image": IMAGE,
                "command": [*dial, "--format={{json .}}"],
                "volumeMounts": [mounted],
            }
        ],
        "volumes": [{"name": "certs", "secret": {"secretName": "buildkit-client-certs"}}],
    }
    run = ("run", "client", f"--image={IMAGE}", f"--overrides={json.dumps({'spec': pod})}")
    client.kubectl(*run, "--restart=Never")
    ended = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
    client.kubectl("wait", "pod/client", ended, "--timeout=60s")
    said = client.kubectl("logs", "pod/client")
    client.kubectl("delete", "pod/client")
    return re.findall(r'"org.mobyproject.buildkit.worker.hostname":"([^"]+)"', said)
