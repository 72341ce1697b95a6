"""Which keys of a stack reach a field that Kubernetes never changes, and what `pulumi up` does."""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import pulumi
import pytest

from settings import Settings
from tests.contract.test_program import GIT, HELLO, MINE, TEXTS, VALUES, defined, given
from tests.pages import DOCS
from tests.recording import Recording, Resource
from tests.recording import record_program as run

Object = dict[str, Any]
Immutable = Callable[[Object, Object], set[str]]

# What may change of a spec that may not: Kubernetes' validation of updates, 1.36,
# https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/apps/validation/validation.go
_STATEFUL_SET = {
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
}
# https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/batch/validation/validation.go
_JOB = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "parallelism",
    "suspend",
    "ttlSecondsAfterFinished",
}
_FREE = {"NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "ScaledObject"}


def _changed(before: Object, after: Object, *but: str) -> set[str]:
    return {key for key in {*before, *after} - {*but} if before.get(key) != after.get(key)}


def _of_spec(*but: str) -> Immutable:
    return lambda before, after: {
        f"spec.{key}" for key in _changed(before["spec"], after["spec"], *but)
    }


def _only(*keys: str) -> Immutable:
    return lambda before, after: {
        f"spec.{key}" for key in keys if before["spec"].get(key) != after["spec"].get(key)
    }


def _service(before: Object, after: Object) -> set[str]:
    both = all(each["spec"].get("type") == "LoadBalancer" for each in (before, after))
    return _only("clusterIP", "ipFamilies", *(["loadBalancerClass"] if both else []))(before, after)


def _claim(before: Object, after: Object) -> set[str]:
    sizes = (each["spec"]["resources"]["requests"]["storage"] for each in (before, after))
    shrunk = {"spec.resources"} if len({*sizes}) > 1 else set[str]()
    return _of_spec("resources")(before, after) | shrunk


def _data(before: Object, after: Object) -> set[str]:
    fixed = before.get("immutable") or after.get("immutable")
    keys = {"type", *(["data", "stringData", "immutable"] if fixed else [])}
    return _changed(before, after) & keys


# https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/core/validation/validation.go
_IMMUTABLE: dict[str, Immutable] = {
    "ConfigMap": _data,
    "DaemonSet": _only("selector"),
    "Deployment": _only("selector"),
    "Job": _of_spec(*_JOB),
    "Namespace": lambda *_: set(),
    "PersistentVolumeClaim": _claim,
    "Pod": _of_spec(),
    "Secret": _data,
    "Service": _service,
    "StatefulSet": _of_spec(*_STATEFUL_SET),
    **dict.fromkeys(_FREE, lambda *_: set[str]()),
}


def immutable(before: Resource, after: Resource) -> set[str]:
    """The immutable fields of one object in which two configurations differ."""
    kind = before.type.rpartition(":")[2]
    names = _changed(before.inputs["metadata"], after.inputs["metadata"]) & {"name", "namespace"}
    return {f"metadata.{name}" for name in names} | _IMMUTABLE[kind](before.inputs, after.inputs)


# Rows of their own, in the modes where these keys reach more than by the other rows.
_FURTHER: list[Object] = [
    {"namespace": "team", "createNamespace": False},
    {"preflight": "none"},
    {"volume": {"kind": "emptyDir"}},
    {"volume": {"protect": False}},
    {"mode": "deployment", "volume": {"kind": "claim"}, "security": "privileged"},
    {"mode": "pod", "image": "a/b:c"},
    {"mode": "pod", "volume": {"kind": "claim", "storageClass": "ssd", "size": "200Gi"}},
]


def without(keys: Object) -> Iterator[Object]:
    """*keys* without one value, for each value in it."""
    for key, value in keys.items():
        others = {name: other for name, other in keys.items() if name != key}
        if isinstance(value, dict):
            yield from ({**others, key: fewer} for fewer in without(value))
        yield others


@cache
def _recorded(keys: str) -> Recording | None:
    try:
        return run(**json.loads(keys))
    except pulumi.RunError:
        return None


def recorded(keys: Object) -> Recording | None:
    """What a stack with these *keys* makes; nothing if it is refused."""
    return _recorded(json.dumps(keys, sort_keys=True))


def changes() -> Iterator[tuple[str, Recording, Recording]]:
    """Each key of a stack, with what is made with it and without it."""
    rows = [keys for keys, *_ in (*VALUES, *TEXTS)]
    seen: set[tuple[str, str]] = set()
    for row in (*_FURTHER, *rows):
        # A StatefulSet and its claims have the most that never changes.
        farm = {"mode": "statefulset", **_of_job(row)}
        keys = farm if recorded(farm) else row
        with_it = recorded(keys)
        assert with_it, keys
        own = row in _FURTHER
        for fewer in without(keys):
            gone = {*given(Settings, keys)} - {*given(Settings, fewer)}
            if len(gone) != 1 or gone == {"mode"}:
                continue
            [key] = gone
            # Once in each mode is enough: it is half a minute as it is.
            once = (key, keys.get("mode", "deployment"))
            if (own or once not in seen) and (before := recorded(fewer)):
                seen.add(once)
                yield key, with_it, before


OWN = {"ca": MINE.cert, "cert": MINE.cert, "key": MINE.key}
NAMED = {"gateway": {"host": "127.0.0.1.example.com"}}
# Keys that only make sense together: two values of each.
_OTHERS: list[tuple[str, Object, Object]] = [
    *((f"certificates.{key}", {"certificates": OWN, **NAMED}, NAMED) for key in OWN),
    (
        "certificates.existingSecret",
        {"certificates": {"existingSecret": "mine"}},
        {"certificates": {"existingSecret": "new"}},
    ),
    ("job.context", {"job": {"context": GIT}}, {"job": {"context": f"{GIT}0"}}),
    (
        "job.files",
        {"job": {"files": {"Dockerfile": "FROM a"}}},
        {"job": {"files": {"Dockerfile": "FROM b"}}},
    ),
    *(
        (
            f"job.secrets.{key}",
            {"job": {**HELLO, "secrets": {"npm": {"secret": "a", "key": "a"}}}},
            {"job": {**HELLO, "secrets": {"npm": {"secret": "a", "key": "a", key: "b"}}}},
        )
        for key in ("secret", "key")
    ),
    *(
        (
            f"networkPolicies.sources.{key}",
            {"networkPolicies": {"sources": [{"network": "10.0.0.0/8"}]}},
            {"networkPolicies": {"sources": [{"namespace": "ci", key: value}]}},
        )
        for key, value in (("namespace", "ci"), ("pods", {"app": "ci"}))
    ),
    ("traces.endpoint", {"traces": {"endpoint": "http://a"}}, {"traces": {"endpoint": "http://b"}}),
]


def _of_job(keys: Object) -> Object:
    return {"mode": "job", **keys} if "job" in keys else keys


class Reached(NamedTuple):
    """An immutable field that a key reaches."""

    key: str
    kind: str
    field: str


@pytest.fixture(scope="module")
def reached() -> dict[Reached, Resource]:
    """With the object that has the field."""
    pairs = [
        *changes(),
        *((key, run(**_of_job(one)), run(**_of_job(other))) for key, one, other in _OTHERS),
    ]
    # A switch of the mode has tests of its own.
    assert {key for key, *_ in pairs} == {*defined(Settings)} - {"mode"}
    return {
        Reached(key, _kind(before), field): before
        for key, with_it, without_it in pairs
        for one, other in ((with_it, without_it), (without_it, with_it))
        for before, after in _shared(one, other)
        for field in immutable(before, after)
    }


def _kind(resource: Resource) -> str:
    return resource.type.rpartition(":")[2]


def _shared(one: Recording, other: Recording) -> Iterator[tuple[Resource, Resource]]:
    there = {resource.urn: resource for resource in other.resources}
    for resource in one.resources:
        if resource.type.startswith("kubernetes:") and resource.urn in there:
            yield resource, there[resource.urn]


def _rows() -> dict[str, dict[tuple[str, str], str]]:
    """What the page says of each kind: by key and field, what `pulumi up` does."""
    section = (DOCS / "upgrading.md").read_text().partition("\n## Immutable fields\n")[2]
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for keys, kind, field, outcome in re.findall(
        r"^\| (`.+`) \| (\w+) \| `([\w.]+)` \| (\w+)", section, re.MULTILINE
    ):
        of_kind = rows.setdefault(kind, {})
        of_kind |= {(key, field): outcome for key in re.findall("`([^`]+)`", keys)}
    return rows


def test_the_page_has_every_key_that_reaches_an_immutable_field(
    reached: dict[Reached, Resource],
) -> None:
    made_again = {"Job", "ConfigMap", "Pod"}
    found = {
        (each.key.replace("clients.", "clients.NAME."), each.kind, each.field)
        for each in reached
        if each.kind not in made_again and each.key != "namespace"
    }
    assert found == {(key, kind, field) for kind, of in _rows().items() for key, field in of}


def test_a_namespace_is_the_only_key_that_moves_everything(
    reached: dict[Reached, Resource],
) -> None:
    moved = {each.key for each in reached if each.field.startswith("metadata.")}
    assert moved == {"namespace", "clients.namespace"}


def test_the_next_job_and_configuration_are_there_before_the_last_ones_go(
    reached: dict[Reached, Resource],
) -> None:
    for each, resource in reached.items():
        if each.kind in ("Job", "ConfigMap") and not each.field.startswith("metadata."):
            # The provider replaces it for these, and names the next one otherwise.
            assert each.field in ("spec.template", "data"), each
            assert "name" not in resource.inputs["metadata"], each


def test_a_pod_is_replaced_for_whatever_changes(reached: dict[Reached, Resource]) -> None:
    pods = [resource for each, resource in reached.items() if each.kind == "Pod"]
    assert pods
    assert all([*pod.request.replaceOnChanges] == ["spec"] for pod in pods)


# What the Kubernetes provider replaces objects for, besides their names: `forceNew` in
# https://github.com/pulumi/pulumi-kubernetes/blob/v4.34.2/provider/pkg/provider/diff.go
_REPLACED = {("StatefulSet", "spec.volumeClaimTemplates")}


def test_what_the_page_says_is_what_happens(reached: dict[Reached, Resource]) -> None:
    by_field = {(each.kind, each.field): resource for each, resource in reached.items()}
    for kind, of in _rows().items():
        for (key, field), outcome in of.items():
            match outcome:
                case "replaces":
                    assert (kind, field) in _REPLACED or field == "metadata.namespace", key
                case "keeps":
                    assert field in by_field[kind, field].request.ignoreChanges
                case _:
                    # What refuses is in the unit tests of the preflight.
                    assert outcome == "refuses"
                    assert key in {"volume.size", "gateway.loadBalancerClass"}
