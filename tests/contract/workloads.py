"""The components that run buildkitd, and what is in their pods."""

import tomllib
from dataclasses import dataclass
from typing import Any

import pytest
from pulumi_buildkit import BuildkitDeployment, BuildkitPod, BuildkitStatefulSet, Security
from pulumi_buildkit.volume import VolumeKind

from tests.recording import Recording, Resource, record

COMPONENTS: dict[str, Any] = {
    "Pod": BuildkitPod,
    "Deployment": BuildkitDeployment,
    "StatefulSet": BuildkitStatefulSet,
}
EACH = pytest.mark.parametrize("kind", COMPONENTS)
VARIANTS = pytest.mark.parametrize("security", Security, ids=lambda security: security.value)
CLAIM = {"kind": VolumeKind.CLAIM}
EMPTY_DIR = {"kind": VolumeKind.EMPTY_DIR}
NO_PORT: dict[str, Any] = {"certificates": None}


@dataclass(frozen=True)
class Workload:
    """One component, and what it made."""

    kind: str
    recording: Recording

    @property
    def object(self) -> Resource:
        """The Pod, Deployment or StatefulSet."""
        return self.recording.one(self.kind)

    @property
    def template(self) -> dict[str, Any]:
        return self._template(self.object)

    @property
    def proof(self) -> dict[str, Any]:
        """The pod that starts buildkitd for a trial."""
        return self._template(self.recording.one("Job"))

    @property
    def claims(self) -> list[Resource]:
        return [*self.recording.of("PersistentVolumeClaim")]

    @property
    def config(self) -> dict[str, Any]:
        """What buildkitd.toml says."""
        return tomllib.loads(self.recording.one("ConfigMap").inputs["data"]["buildkitd.toml"])

    @property
    def outputs(self) -> dict[str, Any]:
        return self.recording.outputs_of(f"Buildkit{self.kind}").values

    def mounts(self, template: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
        """The volumes of a pod, by where buildkitd sees them."""
        spec = (template or self.template)["spec"]
        templates = self.object.inputs["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"]: volume for volume in spec["volumes"]} | {
            claim["metadata"]["name"]: claim for claim in templates
        }
        return {m["mountPath"]: volumes[m["name"]] for m in buildkitd(spec)["volumeMounts"]}

    @staticmethod
    def _template(resource: Resource) -> dict[str, Any]:
        return resource.inputs["spec"].get("template", resource.inputs)


def make(kind: str, **args: Any) -> Workload:
    """A component called `buildkitd`, with a certificate unless *args* say otherwise.

    A function is called in the program: Outputs are made there.
    """
    given = {"namespace": "build", "certificates": "daemon-certs", **args}

    def program() -> None:
        made = {key: value() if callable(value) else value for key, value in given.items()}
        COMPONENTS[kind]("buildkitd", {k: v for k, v in made.items() if v is not None})

    return Workload(kind, record(program))


def buildkitd(spec: dict[str, Any]) -> dict[str, Any]:
    """The container that runs it."""
    (container,) = (c for c in spec["containers"] if c["name"] == "buildkitd")
    return container


def environment(spec: dict[str, Any]) -> dict[str, Any]:
    """Values of the container's variables, or where they are from."""
    env = buildkitd(spec).get("env", [])
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in env}
