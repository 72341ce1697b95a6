"""Who has a BuildKit already moves in by the commands of docs/moving-in.md."""

import ipaddress
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import yaml
from cryptography import x509
from pulumi_buildkit import Security
from pulumi_buildkit.security import VARIANTS

from lab import LabError, build, debian, lifecycle
from lab.engine import Stack
from lab.network import ADDRESS
from lab.node import until
from lab.paths import REPO
from tests.envoy_gateway import Authority, rsa_key
from tests.lab.building import BEGUN, BUILDCTL, greets, takes
from tests.lab.building import build as submitted
from tests.lab.conftest import Configured, Installation
from tests.lab.test_engine import namespace_of
from tests.lab.test_volumes import steps_taken_from_the_cache

PAGE = REPO / "docs" / "moving-in.md"
OLD, NEW = "moving-out", "moving-in"
IMAGE = VARIANTS[Security.ROOTLESS].image
CLAIM = "cache"
BUILDER = "moving"
SERVICE = f"buildkitd.{OLD}.svc"
TOML = tomli_w.dumps({"registry": lifecycle.REGISTRIES})
VOLUME = {"kind": "claim", "storageClass": "lab", "size": "1Gi", "protect": False}


def commands(heading: str) -> list[str]:
    """What the page says to do below a *heading*."""
    (section,) = re.findall(rf"(?ms)^#+ {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text())
    return re.findall(r"(?ms)^```sh\n(.*?)^```", section)


@dataclass(frozen=True)
class Old:
    """A BuildKit that was there before, and a client of it."""

    client: Installation
    names: dict[str, str]
    """What the page calls its objects."""

    def follow(self, *scripts: str) -> None:
        """Do what the page says."""
        for script in scripts:
            done = subprocess.run(
                ["sh", "-euc", script],
                env={**self.client.environment, **self.names},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{script}\n{done.stderr}"


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """What the page's commands use, besides kubectl."""
    debian.install({"jq"})


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
        (shell,) = commands("Moving in")
        yield Old(old, {**exported(shell), "OLD": OLD, "NEW": NEW, "CLAIM": CLAIM})


def exported(script: str) -> dict[str, str]:
    """The variables that a script sets for those after it."""
    return dict(re.findall(r"(\w+)=(\S+)", script))


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


def claim_of(name: str) -> dict[str, Any]:
    """A claim in the lab's class."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "lab",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


@pytest.fixture(scope="module")
def moved(lab: lifecycle.Lab, upstream: Old) -> Iterator[Stack]:
    """The stack beside it, which has a namespace but no certificate yet."""
    make_namespace, _ = commands("Beside what there is")
    upstream.follow(make_namespace)
    stack = lab.stack("moved", {})
    yield stack
    stack.destroy()
    lab.node.kubectl("delete", "namespace", NEW)


def bring_up(upstream: Old, stack: Stack, secret: str, layout: str, **keys: Any) -> Installation:
    """What the client of the old BuildKit builds with, by its old files, when the stack is up."""
    _, copy = commands("Beside what there is")
    replace(upstream, names={**upstream.names, "SECRET": secret}).follow(copy)
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
        upstream.follow(*commands("Lead the clients over"))
        until(
            lambda: daemon_at(SERVICE, upstream.client) == client.pods("buildkitd"),
            60,
            lambda: LabError("the old name does not lead to the new BuildKit"),
        )
        assert running.result("greeting")
    upstream.follow(*commands("Hand the cache over"))
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


def test_a_builder_of_buildx_s_driver_hands_its_cache_over(
    lab: lifecycle.Lab, installation: Installation, configured: Configured, tmp_path: Path
) -> None:
    with namespace_of(lab, f"{OLD}-buildx") as namespace:
        old = builder_of_the_driver(lab, namespace, tmp_path)
        names = {
            "OLD": namespace,
            "NEW": installation.outputs["namespace"],
            "WORKLOAD": f"statefulset/{BUILDER}0",
            "CLAIM": f"buildkitd-{BUILDER}0-0",
            "NEW_CLAIM": "rootless-cache-buildkitd-0",
        }
        Old(old, names).follow(*commands("Hand the cache over"))
        (forget,) = commands("From docker buildx's kubernetes driver")
        Old(old, {"BUILDER": BUILDER}).follow(forget.replace("docker buildx", "docker-buildx"))
    new = configured({"buildkit:mode": "statefulset", "buildkit:volume": VOLUME})
    with submitted(new, BUILDCTL, greets(BUILDER)) as again:
        again.result("greeting")
    assert "CACHED" in again.said


def builder_of_the_driver(lab: lifecycle.Lab, namespace: str, directory: Path) -> Installation:
    """A builder of docker buildx's kubernetes driver, which has built something on its claim."""
    old = Installation(lab, {"namespace": namespace}, directory)
    claim = directory / "claim.json"
    claim.write_text(json.dumps(claim_of(f"buildkitd-{BUILDER}0-0")))
    # The lab has no default class for it to choose.
    old.kubectl("apply", f"--filename={claim}")
    storage = "persistent-volume-claim.requests.storage=1Gi"
    options = f"namespace={namespace},image={IMAGE},rootless=true,{storage}"
    driver = ("--driver=kubernetes", f"--driver-opt={options}")
    create = ("docker-buildx", "create", f"--name={BUILDER}", *driver)
    (directory / "Dockerfile").write_text(greets(BUILDER))
    of_it = f"--builder={BUILDER}"
    for command in (create, ("docker-buildx", "build", of_it, "--output=type=cacheonly", ".")):
        done = old.run(*command)
        assert done.returncode == 0, done.stderr
    return old
