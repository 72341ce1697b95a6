"""The Kubernetes objects of a recording, each with the file that holds it."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from render.recording import Recording, Resource, Values
from settings import PREFLIGHT, WORKLOAD

Object = dict[str, Any]

# What is needed comes before what needs it; `kubectl apply` takes files by their names.
_ORDER = {
    "Namespace": 0,
    "Secret": 10,
    "ConfigMap": 10,
    "NetworkPolicy": 20,
    "PersistentVolumeClaim": 20,
    "Service": 30,
    "DaemonSet": 40,
    "Pod": 50,
    "Deployment": 50,
    "StatefulSet": 50,
    "Job": 50,
    "PodDisruptionBudget": 60,
    "ScaledObject": 60,
}
# They are tried before an update, which only an engine can have wait for them.
_TRIALS = (f"{WORKLOAD}-proof", PREFLIGHT)
_PULUMI = "pulumi.com/"


@dataclass(frozen=True)
class Manifest:
    """One object, and where it is written to."""

    file: str
    object: Object
    private: bool
    """Whether there is a secret in it."""

    @property
    def namespace(self) -> str:
        """Of the object; of none if it has none."""
        return self.object["metadata"].get("namespace", "")


@dataclass(frozen=True, order=True)
class Needed:
    """An object with something secret in it, without which some pod does not start."""

    namespace: str
    kind: str
    name: str
    type: str
    """Of a Secret; empty where only its user knows it."""
    keys: tuple[str, ...]
    rendered: bool
    """Whether it can be rendered; otherwise somebody else has to make it."""


def manifests(recording: Recording) -> list[Manifest]:
    """All that is to be applied, in that order."""
    resources = (r for r in recording.resources if r.type.startswith("kubernetes:"))
    made = [_manifest(resource) for resource in resources if not resource.name.startswith(_TRIALS)]
    return sorted(made, key=lambda manifest: manifest.file)


def metadata_of(resource_name: str, inputs: Values) -> Values:
    """The metadata of an object, without what is said to Pulumi alone.

    An object that Pulumi would name has its content in its name: other content is another object,
    and what mounts it rolls.
    """
    given = inputs["metadata"]
    annotations = {
        k: v for k, v in given.get("annotations", {}).items() if not k.startswith(_PULUMI)
    }
    rest = {key: value for key, value in given.items() if key != "annotations"}
    metadata = {**rest, **({"annotations": annotations} if annotations else {})}
    content = json.dumps({**inputs, "metadata": metadata}, sort_keys=True).encode()
    return {"name": f"{resource_name}-{hashlib.sha256(content).hexdigest()[:8]}", **metadata}


def dumped(*objects: Object) -> str:
    """The objects as one YAML text."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=True, width=100)


def needed(rendered: Iterable[Manifest]) -> list[Needed]:
    """The private ones that are *rendered*, and the Secrets that are only mentioned there."""
    each = [*rendered]
    made = [_private(manifest) for manifest in each if manifest.private]
    names = {(m.namespace, m.name) for m in made if m.kind == "Secret"}
    used: dict[tuple[str, str], set[str]] = {}
    for manifest in each:
        for name, keys in _mentions(manifest.object):
            used.setdefault((manifest.namespace, name), set()).update(keys)
    others = [
        Needed(namespace, "Secret", name, "", tuple(sorted(keys)), rendered=False)
        for (namespace, name), keys in used.items()
        if (namespace, name) not in names
    ]
    return sorted([*made, *others])


def _manifest(resource: Resource) -> Manifest:
    inputs = resource.inputs
    kind = inputs["kind"]
    # Other content in the same file shows what has changed.
    name = inputs["metadata"].get("name", resource.name)
    return Manifest(
        f"{_ORDER[kind]:02}-{kind.lower()}-{name}.yaml",
        {**inputs, "metadata": metadata_of(resource.name, inputs)},
        private=kind == "Secret" or bool(resource.secrets),
    )


def _private(manifest: Manifest) -> Needed:
    made = manifest.object
    return Needed(
        manifest.namespace,
        made["kind"],
        made["metadata"]["name"],
        made.get("type", ""),
        tuple(sorted({**made.get("data", {}), **made.get("stringData", {})})),
        rendered=True,
    )


def _mentions(value: Any) -> Iterator[tuple[str, list[str]]]:
    """The Secrets in a part of an object, each with the keys that are asked of it."""
    match value:
        case {"secretName": str(name), **rest}:
            yield name, [item["key"] for item in rest.get("items", [])]
        case {"secretKeyRef": {"name": str(name), "key": str(key)}}:
            yield name, [key]
        case {"secretRef": {"name": str(name)}}:
            yield name, []
        case {"secret": {"name": str(name), **rest}}:
            yield name, [item["key"] for item in rest.get("items", [])]
        case {"imagePullSecrets": list(names)}:
            for each in names:
                yield each["name"], [".dockerconfigjson"]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        yield from _mentions(part)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and no references to what was said above."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
