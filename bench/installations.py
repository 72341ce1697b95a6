"""The ways to BuildKit that are compared: each installed, and taken away again at the end."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.workshop import Workshop
from lab import build, client, lifecycle
from lab.network import ADDRESS

VERSION = "v0.34.2"
IMAGE = f"docker.io/moby/buildkit:{VERSION}-rootless"
"""In all of them."""
CLIENT = "spiffe://buildkit/client/dev"
"""The name of the client whose certificate is made for BuildKit's own manifests."""
_READY = "180s"


@dataclass(frozen=True)
class Installation:
    """A BuildKit that can be built with."""

    namespace: str
    deployment: str
    """Of buildkitd; of a StatefulSet its name."""
    builder: str
    """What docker buildx calls it."""
    connection: tuple[str, ...] = ()
    """The start of a command line of buildctl; nothing where only buildx can reach it."""


@contextmanager
def program(
    workshop: Workshop, name: str, gateway: dict[str, Any], **keys: Any
) -> Iterator[Installation]:
    """This program, as a stack of its own, with the *gateway*'s keys and others."""
    try:
        yield pulumi_up(workshop, name, gateway, **keys)
    finally:
        workshop.seconds(*_stack("destroy", name, _configuration(gateway, keys)))
        remove_builder(workshop, name)


def pulumi_up(workshop: Workshop, name: str, gateway: dict[str, Any], **keys: Any) -> Installation:
    """`pulumi up` in a process of its own, which has loaded nothing before, as the CLI does it."""
    configuration = _configuration(gateway, keys)
    workshop.seconds(*_stack("up", name, configuration))
    outputs = workshop.lab.stack(name, configuration).outputs()
    certificates = workshop.directory / name
    client.write_certificates(outputs, "dev", certificates)
    add_remote_builder(workshop, name, outputs["endpoint"], certificates)
    connection = client.buildctl(outputs["endpoint"], certificates)
    return Installation(outputs["namespace"], "buildkitd", name, tuple(connection))


def _stack(verb: str, name: str, configuration: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "bench.stack", verb, name, json.dumps(configuration)]


def _configuration(gateway: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    # Kubernetes chooses the port, so that many stacks fit beside each other.
    exposed = {"host": ADDRESS, "service": "NodePort"}
    return {
        "buildkit:registries": lifecycle.REGISTRIES,
        "buildkit:gateway": {**exposed, **gateway},
        **{f"buildkit:{key}": value for key, value in keys.items()},
    }


@contextmanager
def upstream(workshop: Workshop, name: str, tls: bool = True) -> Iterator[Installation]:
    """BuildKit's own manifests; without *tls* with nothing between a client and buildkitd."""
    try:
        yield kubectl_apply(workshop, name, tls)
    finally:
        workshop.delete_namespace(name)
        remove_builder(workshop, name)


def kubectl_apply(workshop: Workshop, name: str, tls: bool = True) -> Installation:
    """What BuildKit's documentation says: certificates, `kubectl apply`, wait until it is ready."""
    certificates = workshop.directory / name
    _make_certificates(workshop, certificates)
    workshop.lab.node.kubectl("create", "namespace", name)
    secret = ("create", "secret", "generic", "buildkit-daemon-certs")
    files = (f"--from-file={file}={certificates / source}" for file, source in _DAEMON_FILES)
    workshop.kubectl(name, *secret, *files)
    manifest = yaml.safe_dump_all(_upstream_objects(tls))
    workshop.kubectl(name, "apply", "--filename=-", stdin=manifest)
    wait_until_ready(workshop, name, "buildkitd")
    port = workshop.kubectl(name, "get", "service/buildkitd", f"--output=jsonpath={_NODE_PORT}")
    endpoint = f"{ADDRESS}:{port}"
    if not tls:
        add_remote_builder(workshop, name, endpoint)
        return Installation(name, "buildkitd", name, ("buildctl", "--addr", f"tcp://{endpoint}"))
    add_remote_builder(workshop, name, endpoint, certificates)
    return Installation(name, "buildkitd", name, tuple(client.buildctl(endpoint, certificates)))


_NODE_PORT = "{.spec.ports[0].nodePort}"
_DAEMON_FILES = (("ca.pem", "ca.pem"), ("cert.pem", "daemon.pem"), ("key.pem", "daemon-key.pem"))


def _upstream_objects(tls: bool) -> list[dict[str, Any]]:
    """The manifest as it is in BuildKit's repository, but for the image and the Service's type."""
    module = build.module_dir("buildkit", "github.com/moby/buildkit")
    manifest = module / "examples" / "kubernetes" / "deployment+service.rootless.yaml"
    deployment, service = yaml.safe_load_all(manifest.read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["image"] = IMAGE
    if not tls:
        container["args"] = _without_tls(container["args"])
    service["spec"]["type"] = "NodePort"
    return [deployment, service]


def _without_tls(arguments: list[str]) -> list[str]:
    flags = {index for index, value in enumerate(arguments) if value.startswith("--tls")}
    return [
        value
        for index, value in enumerate(arguments)
        if index not in flags and index - 1 not in flags
    ]


def _make_certificates(workshop: Workshop, directory: Path) -> None:
    """A CA, a server's and a client's certificate, with keys of the kind that the program makes."""
    directory.mkdir(exist_ok=True)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem")
    server = ("-addext", f"subjectAltName=IP:{ADDRESS}")
    for name, subject, options in (
        ("ca", "/CN=ca", ()),
        ("daemon", "/CN=buildkitd", (*signed, *server)),
        ("client", "/CN=client", (*signed, "-addext", f"subjectAltName=URI:{CLIENT}")),
    ):
        out = {"client": ("cert.pem", "key.pem")}.get(name, (f"{name}.pem", f"{name}-key.pem"))
        files = ("-out", out[0], "-keyout", out[1])
        request = ("openssl", "req", "-x509", *key, "-subj", subject, *options, *files)
        workshop.seconds("sh", "-c", 'cd "$0" && exec "$@"', str(directory), *request)


@contextmanager
def driver(workshop: Workshop, name: str) -> Iterator[Installation]:
    """The kubernetes driver of docker buildx."""
    try:
        yield bootstrap_driver(workshop, name)
    finally:
        workshop.run("docker-buildx", "rm", name)
        workshop.delete_namespace(name)


def bootstrap_driver(workshop: Workshop, name: str) -> Installation:
    """`docker buildx create`; what it makes is there with the first build."""
    workshop.lab.node.kubectl("create", "namespace", name)
    options = f"namespace={name},image={IMAGE},rootless=true"
    create = ("docker-buildx", "create", "--driver=kubernetes", f"--name={name}")
    workshop.seconds(*create, f"--node={name}", f"--driver-opt={options}")
    return Installation(name, name, name)


def add_remote_builder(
    workshop: Workshop, name: str, endpoint: str, certificates: Path | None = None
) -> None:
    """Let docker buildx know a BuildKit that is there."""
    create = ("docker-buildx", "create", "--driver=remote", f"--name={name}")
    options = [f"--driver-opt={client.driver_options(certificates)}"] if certificates else []
    workshop.seconds(*create, *options, f"tcp://{endpoint}")


def remove_builder(workshop: Workshop, name: str) -> None:
    """Have docker buildx forget it, if it knows it."""
    workshop.run("docker-buildx", "rm", name)


def wait_until_ready(workshop: Workshop, namespace: str, deployment: str) -> None:
    """Wait for a Deployment's rollout."""
    status = ("rollout", "status", f"deployment/{deployment}", f"--timeout={_READY}")
    workshop.kubectl(namespace, *status)
