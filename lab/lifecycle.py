"""The lab as a whole: node, what runs on it, and a Pulumi for it; started and stopped."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import (
    build,
    cluster,
    debian,
    image_store,
    network,
    node,
    owner,
    preflight,
    providers,
    stack_file,
)
from lab.engine import Engine, Stack, dev_config, merge
from lab.network import ADDRESS, REGISTRY
from lab.paths import REPO, STATE

BASE_IMAGE = "docker.io/library/debian:bookworm-slim"
STACK = "lab"
NODE_PORT = 31234
COMPONENTS = REPO / "components"
STACK_FILE = REPO / f"Pulumi.{STACK}.yaml"
REGISTRIES: dict[str, Any] = {
    "docker.io": {"mirrors": [REGISTRY]},
    REGISTRY: {"http": True},
}


@dataclass(frozen=True)
class Lab:
    """A lab that runs."""

    node: node.Node
    engine: Engine
    name: str = STACK
    """Of the stack that is meant where none is named."""
    node_port: int = NODE_PORT
    """Where that one's clients dial the node."""

    @property
    def overrides(self) -> dict[str, Any]:
        """Where it differs from Pulumi.dev.yaml: by its port, and by where images come from."""
        return {
            "buildkit:gateway": {
                "host": ADDRESS,
                "service": "NodePort",
                "nodePort": self.node_port,
            },
            "buildkit:registries": REGISTRIES,
        }

    def stack(
        self, name: str = "", overrides: dict[str, Any] | None = None, **variables: str
    ) -> Stack:
        """A stack in a directory of its own; *overrides* replace what the lab needs."""
        return Stack.copied(
            self.engine,
            name or self.name,
            self.overrides if overrides is None else overrides,
            self.node.kubeconfig,
            **variables,
        )

    def own_stack(self) -> Stack:
        """The stack of the checkout's own directory, which `make up` makes."""
        return Stack(self.engine, STACK, REPO, self.node.kubeconfig)

    def write_stack_file(self) -> None:
        """Have a Pulumi.lab.yaml that agrees with Pulumi.dev.yaml."""
        record = self.engine.state / STACK_FILE.name
        stack_file.update(STACK_FILE, record, merge(dev_config(), self.overrides))


def kubeconfig_of_another_cluster() -> Path | None:
    """The KUBECONFIG of the environment, if it is not the lab's."""
    given = os.environ.get("KUBECONFIG")
    return Path(given) if given and Path(given) != STATE / "kubeconfig" else None


def start() -> Lab:
    """Build what is missing and have the node running, with all that belongs to it."""
    preflight.machine(node=True)
    if owner.current() is None:
        network.refuse_if_taken()
    debian.install({*node.DEBIAN_PACKAGES, *build.DEBIAN_PACKAGES, *image_store.DEBIAN_PACKAGES})
    tools = build.tools()
    images = image_store.images(tools)
    if owner.is_foreign():
        owner.announce_takeover()
        node.Node(tools, images).stop()
    elif owner.claimed_in_the_future():
        print(
            "lab: the clock went back to before the lab's start: starting it anew", file=sys.stderr
        )
        node.Node(tools, images).stop()
    owner.claim()
    lab = Lab(node.Node(tools, images), Engine(tools, STATE / "pulumi", in_node=True))
    lab.node.start()
    cluster.install(lab.node)
    if not lab.engine.official:
        providers.install_component(COMPONENTS, sys.executable)
    _publish_base_image(lab.node)
    return lab


def running() -> Lab | None:
    """The lab of this checkout, if it runs."""
    if owner.current() is None or owner.is_foreign():
        return None
    tools = build.tools()
    lab = Lab(node.Node(tools, {}), Engine(tools, STATE / "pulumi", in_node=True))
    return lab if lab.node.is_running() else None


def stop() -> None:
    """Leave the machine as it was, whatever is left of the lab."""
    node.Node(build.tools(), {}).stop()
    for made in (STACK_FILE, COMPONENTS / providers.COMPONENT):
        made.unlink(missing_ok=True)


def _publish_base_image(lab_node: node.Node) -> None:
    """Put the image that builds start from into the registry, which stands in for Docker Hub."""
    published = BASE_IMAGE.replace("docker.io", REGISTRY)
    lab_node.ctr("images", "tag", "--force", BASE_IMAGE, published)
    lab_node.ctr("images", "push", "--plain-http", published)
