"""The resource options of the caller, and two installations beside each other."""

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest
from pulumi_buildkit import Security

from tests.contract.cases import CASES, CLAIM, NAME, Make, deployment
from tests.recording import Recording, Resource, record

EVERY = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def components(recording: Recording) -> list[Resource]:
    return [r for r in recording.resources if r.type.startswith("buildkit:")]


def children(recording: Recording, of: Resource) -> list[Resource]:
    return [r for r in recording.resources if r.parent == of.urn]


def with_options(make: Make, **options: Any) -> tuple[Resource, list[Resource]]:
    """A component with these options, and its children."""
    recording = record(lambda: make(pulumi.ResourceOptions(**options)))
    (component,) = components(recording)
    found = children(recording, component)
    assert found
    return component, found


@EVERY
def test_a_component_goes_below_its_parent(make: Make) -> None:
    def program() -> None:
        parent = pulumi.ComponentResource("test:index:Parent", "parent")
        make(pulumi.ResourceOptions(parent=parent))

    recording = record(program)
    (component,) = components(recording)
    assert component.parent == recording.one("Parent").urn


@EVERY
def test_each_of_two_clusters_has_all_of_its_own_component(make: Make) -> None:
    def program() -> None:
        for name in ("here", "there"):
            provider = k8s.Provider(name)
            make(pulumi.ResourceOptions(provider=provider), name)

    recording = record(program)
    for component in components(recording):
        objects = [r for r in children(recording, component) if r.type.startswith("kubernetes:")]
        providers = {r.request.provider.rpartition("::")[0] for r in objects}
        assert providers == {recording.one("kubernetes", component.name).urn}


@EVERY
def test_protection_reaches_every_child(make: Make) -> None:
    component, found = with_options(make, protect=True)
    assert all(resource.request.protect for resource in (component, *found))


def test_a_claim_that_needs_none_is_protected_with_its_component() -> None:
    unprotected = deployment(Security.ROOTLESS, volume={**CLAIM, "protect": False})
    for protect in (True, False):
        _, found = with_options(unprotected, protect=protect)
        (claim,) = (r for r in found if r.type.endswith(":PersistentVolumeClaim"))
        assert claim.request.protect is protect


@EVERY
def test_changes_are_ignored_in_every_child(make: Make) -> None:
    path = "metadata.annotations"
    _, found = with_options(make, ignore_changes=[path])
    assert all(path in child.request.ignoreChanges for child in found)


def test_what_a_component_ignores_by_itself_it_still_does() -> None:
    path = "metadata.annotations"
    _, found = with_options(CASES["BuildkitStatefulSet-autoscaled"], ignore_changes=[path])
    (scaled,) = (r for r in found if r.type.endswith(":StatefulSet"))
    assert {path, "spec.replicas"} <= {*scaled.request.ignoreChanges}


@EVERY
def test_a_component_keeps_what_its_alias_had(make: Make) -> None:
    # The engine looks for the children of the alias, by the names that they have below it.
    alias = pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)
    component, found = with_options(make, aliases=[alias])
    assert [known.spec.noParent for known in component.request.aliases] == [True]
    assert {child.parent for child in found} == {component.urn}


# Two installations


def installations(make: Make, *names: str) -> list[list[Resource]]:
    """The Kubernetes objects of each, made by one program in one namespace."""
    recording = record(lambda: [make(name=name) for name in names])
    return [
        [r for r in children(recording, component) if r.type.startswith("kubernetes:")]
        for component in components(recording)
    ]


def named(objects: list[Resource]) -> set[tuple[str, str]]:
    """The kind and the name of those whose name is fixed."""
    metadata = [(r.type, r.inputs["metadata"]) for r in objects]
    return {(kind, of["name"]) for kind, of in metadata if "name" in of}


def pods(objects: list[Resource]) -> list[dict[str, str]]:
    """The labels of each kind of pod that there will be."""
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod")
    makers = [r for r in objects if r.type.rpartition(":")[2] in kinds]
    templates = [maker.inputs["spec"].get("template", maker.inputs) for maker in makers]
    return [template["metadata"]["labels"] for template in templates]


def selectors(value: Any) -> Iterator[dict[str, str]]:
    """What finds pods by their labels, anywhere in an object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("selector", "labelSelector"):
                yield inner.get("matchLabels", inner)
            else:
                yield from selectors(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from selectors(inner)


@EVERY
@pytest.mark.parametrize("other", ["shop", f"{NAME}-0", f"{NAME}-pod"])
def test_two_installations_in_one_namespace_do_not_meet(make: Make, other: str) -> None:
    both = installations(make, NAME, other)
    assert not set.intersection(*map(named, both))
    for one, another in permutations(both):
        found = [selector for r in one for selector in selectors(r.inputs.get("spec"))]
        assert not [s for s in found for labels in pods(another) if s.items() <= labels.items()]
