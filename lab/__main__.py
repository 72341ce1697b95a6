"""What `make up`, `down`, `env`, `status` and `client-certs` do."""

import argparse
import contextlib
import shlex
import socket
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lab import LabError, build, client, first_build, keda, lifecycle, owner, preflight
from lab.engine import Engine, Stack
from lab.lifecycle import kubeconfig_of_another_cluster
from lab.paths import REPO
from status import StatusError
from status.__main__ import status as show_status

# Pulumi's state for a cluster that is not the lab's: it must outlive the lab.
_OTHER_STATE = REPO / ".state"


def up() -> None:
    """Run the dev stack, on the lab's node or on the cluster of KUBECONFIG, and build an image."""
    other = kubeconfig_of_another_cluster()
    if other:
        _up_elsewhere(other)
    else:
        with owner.lock("make up"):
            _up_here()


def _up_here() -> None:
    started = time.monotonic()
    lab = lifecycle.start()
    print(lab.engine)
    print(build.versions())
    lab.write_stack_file()
    stack = lab.own_stack()
    if keda.is_wanted(stack.config):
        keda.install(lab.node)
    stack.recover()
    stack.up()
    outputs = stack.outputs()
    built = first_build.here(outputs, lab.node.at.tools, lab.node.kubeconfig)
    print(_summary(outputs, built, started))


def _up_elsewhere(kubeconfig: Path) -> None:
    started = time.monotonic()
    context = _reach(kubeconfig)
    print(f"the cluster is {context}, from KUBECONFIG")
    stack = _stack_elsewhere(kubeconfig)
    stack.up()
    outputs = stack.outputs()
    built = first_build.elsewhere(outputs, build.tools(), kubeconfig)
    print(_summary(outputs, built, started))


def down(cluster: str | None) -> None:
    """Destroy the dev stack; here also stop the node, elsewhere only when *cluster* is named."""
    other = kubeconfig_of_another_cluster()
    if other:
        context = _reach(other)
        if cluster != context:
            raise LabError(
                f"KUBECONFIG names the cluster {context}, which is not the lab's: to destroy the "
                f"stack there say make down CLUSTER={context}; for the lab, unset KUBECONFIG"
            )
        _stack_elsewhere(other).destroy()
        return
    with owner.lock("make down"):
        owner.refuse_foreign()
        # What can't be destroyed, on a full disk perhaps, ends with the node all the same.
        with contextlib.suppress(LabError, OSError):
            if lab := lifecycle.running():
                stack = lab.own_stack()
                stack.recover()
                stack.destroy()
        lifecycle.stop()


def env() -> None:
    """Print exports for a shell that knows the lab."""
    lab = _running()
    exports = {**lab.engine.environment, "KUBECONFIG": str(lab.node.kubeconfig)}
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(value)}")


def client_certs(name: str, directory: Path) -> None:
    """Write a client's certificate files."""
    other = kubeconfig_of_another_cluster()
    stack = _stack_elsewhere(other) if other else _running().own_stack()
    client.write_certificates(stack.outputs(), name, directory)
    print(f"{directory} has ca.pem, cert.pem and key.pem of the client {name}")


def status() -> None:
    """Show how the dev stack is."""
    other = kubeconfig_of_another_cluster()
    stack = _stack_elsewhere(other) if other else _running().own_stack()
    try:
        show_status(stack.outputs(), str(other or _running().node.kubeconfig))
    except StatusError as error:
        raise LabError(str(error)) from None


def _running() -> lifecycle.Lab:
    lab = lifecycle.running()
    if lab is None:
        raise LabError("no lab of this checkout is running; start it with make up")
    return lab


def _stack_elsewhere(kubeconfig: Path) -> Stack:
    return Stack.copied(Engine(build.tools(), _OTHER_STATE), "dev", kubeconfig=kubeconfig)


def _reach(kubeconfig: Path) -> str:
    """The name of a kubeconfig's current context, when its server answers."""
    try:
        config = yaml.safe_load(kubeconfig.read_text())
        context = next(c for c in config["contexts"] if c["name"] == config["current-context"])
        name = context["context"]["cluster"]
        cluster = next(c for c in config["clusters"] if c["name"] == name)
        server = urllib.parse.urlsplit(cluster["cluster"]["server"])
    except (OSError, LookupError, StopIteration, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()) or "none is named"
        raise LabError(
            f"KUBECONFIG={kubeconfig} is no kubeconfig with a current context ({reason}); "
            "mend it, or unset KUBECONFIG to use the lab's own node"
        ) from None
    try:
        port = server.port or (443 if server.scheme == "https" else 80)
        socket.create_connection((server.hostname, port), timeout=10).close()
    except OSError as error:
        raise LabError(
            f"KUBECONFIG={kubeconfig}: {config['current-context']} at {server.netloc} can't be "
            f"reached ({error}); start it, or unset KUBECONFIG to use the lab's own node"
        ) from None
    return str(config["current-context"])


def _summary(outputs: Mapping[str, Any], done: str, started: float) -> str:
    """What was made, and the commands to go on with, as they suit the mode."""
    facts = [(name, outputs[name]) for name in ("endpoint", "namespace") if name in outputs]
    lines = [
        f"{done}, {time.monotonic() - started:.0f} s after the start.",
        "",
        *(f"  {name:10} {value}" for name, value in facts),
        *_next(outputs),
        "  make test                everything that proves the project",
        "  make down                leaves the machine as it was",
    ]
    return "\n".join(["", *lines])


def _next(outputs: Mapping[str, Any]) -> Iterator[str]:
    yield "\nIn this directory, for a shell with kubectl, pulumi, buildctl and docker-buildx:\n"
    yield '  eval "$(make -s env)"'
    if "endpoint" in outputs:
        yield "\nThen build in any directory with a Dockerfile:\n"
        if not outputs["endpoint"].startswith("kube-pod://"):
            name = next(iter(outputs["clients"]))
            yield f"  make -C {REPO} client-certs CLIENT={name} DIR=$PWD/certs"
        yield f"  {outputs['buildx_command'].replace('docker buildx', 'docker-buildx')}"
        yield "  docker-buildx build --builder buildkit ."
        yield f"  {outputs['buildctl_command']}"
    else:
        yield "\nThen see what the Job printed, and build what you like:\n"
        yield f"  kubectl --namespace {outputs['namespace']} logs {outputs['workload']}"
        yield "  pulumi config set --path buildkit:job.context https://HOST/PATH.git"
        yield "  pulumi up"
    yield "\nTry next:\n"
    yield f"  kubectl --namespace {outputs['namespace']} get pods"
    yield "  pulumi preview           its configuration is in Pulumi.lab.yaml"


def main() -> None:
    """Run one command; what a user can mend is said in one line each."""
    parser = argparse.ArgumentParser(prog="python -m lab")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("up").set_defaults(run=lambda _: up())
    downs = commands.add_parser("down")
    downs.add_argument("cluster", nargs="?")
    downs.set_defaults(run=lambda given: down(given.cluster))
    commands.add_parser("env").set_defaults(run=lambda _: env())
    commands.add_parser("status").set_defaults(run=lambda _: status())
    certs = commands.add_parser("client-certs")
    certs.add_argument("client")
    certs.add_argument("directory", type=Path)
    certs.set_defaults(run=lambda given: client_certs(given.client, given.directory))
    given = parser.parse_args()
    try:
        given.run(given)
    except (LabError, OSError) as error:
        if problems := preflight.full_disks():
            reason = " ".join(str(error).split())[-160:]
            sys.exit(f"lab: {'; '.join(problems)} (it ended with: … {reason})")
        if not isinstance(error, LabError):
            raise
        sys.exit("\n".join(f"lab: {line}" for line in str(error).splitlines()))


if __name__ == "__main__":
    main()
