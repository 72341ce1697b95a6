"""What is said of an overlay before it is laid over a pod."""

import json
import subprocess
import sys
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import models
from pulumi_buildkit import BuildkitDeployment
from pulumi_buildkit._overlay_rules import Effect
from pulumi_buildkit.overlay import conflicts

from settings import Settings, overlays, pod_overlay
from tests.golden.schema import validate
from tests.recording import REPO, record
from tests.unit.test_overlay import within


def mistakes(overlay: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """What a stack is told of the *overlay* of buildkitd's pods, without its key."""
    settings = Settings.model_validate({"clients": {"dev": {}}})
    ((target, base),) = overlays.OVERLAYS[0].bases(settings)
    complaints = [*pod_overlay.mistakes(overlay, base, target)]
    if complaints:
        return complaints
    refused = [c for c in conflicts(base, overlay, target) if c.effect is Effect.REFUSED]
    return [(conflict.path, conflict.complaint) for conflict in refused]


def found(**spec: Any) -> list[tuple[str, str]]:
    return [(path(place), complaint) for place, complaint in mistakes({"spec": spec})]


def path(place: tuple[str | int, ...]) -> str:
    return ".".join(map(str, place))


def one(**spec: Any) -> tuple[str, str]:
    (complaint,) = found(**spec)
    return complaint


def buildkitd(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "buildkitd", **fields}]}


GOOD: list[dict[str, Any]] = [
    {},
    {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}},
    {"spec": {"nodeSelector": {"pool": "builds", "limits": "a"}, "priorityClassName": "high"}},
    {"spec": {"tolerations": [{"key": "builds", "operator": "Exists"}, {}]}},
    {"spec": {"imagePullSecrets": [{"name": "registry"}], "serviceAccountName": "builder"}},
    {"spec": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["registry.local"]}]}},
    {"spec": {"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}},
    {"spec": {"securityContext": None, "affinity": {"nodeAffinity": None}}},
    {"spec": {"volumes": [{"name": "ssd", "hostPath": {"path": "/ssd"}}]}},
    {"spec": {"volumes": [{"$patch": "delete", "name": "ssd"}]}},
    {"spec": {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": 1024}, "hostPath": None}]}},
    {"spec": {"initContainers": [{"name": "warm", "image": "busybox"}]}},
    {"spec": {"containers": [{"name": "proxy", "image": "envoy", "args": ["-c", "x"]}]}},
    {
        "spec": buildkitd(
            resources={"limits": {"cpu": 2, "memory": "4Gi"}, "requests": {"cpu": 0.5}}
        )
    },
    {"spec": buildkitd(livenessProbe={"periodSeconds": 60, "httpGet": None})},
    {"spec": buildkitd(env=[{"$patch": "replace"}, {"name": "A", "value": "1"}])},
    {"spec": buildkitd(ports=[{"containerPort": 6060, "name": "debug"}])},
    {"spec": {"securityContext": {"$patch": "replace", "runAsUser": 1000}}},
    {"metadata": {"annotations": {"$patch": "replace", "note": "b"}}},
]


@pytest.mark.parametrize("overlay", GOOD, ids=json.dumps)
def test_what_kubernetes_takes_is_no_mistake(overlay: dict[str, Any]) -> None:
    assert not [*mistakes(overlay)]


def test_an_unknown_field_is_told_with_the_one_that_was_meant() -> None:
    assert one(tolerations=[{"efect": "NoSchedule"}]) == (
        "spec.tolerations.0.efect",
        "is no field that can be set; did you mean effect? they are effect, key, operator, "
        "tolerationSeconds, value",
    )


def test_of_many_fields_kubectl_tells() -> None:
    (_, complaint) = one(hostuser=True)
    assert complaint == (
        "is no field that can be set; did you mean hostUsers? see `kubectl explain pod.spec`"
    )


def test_a_pod_s_name_is_no_field() -> None:
    assert [*mistakes({"metadata": {"name": "a"}})] == [
        (("metadata", "name"), "is no field that can be set; they are annotations, labels")
    ]


def test_a_field_of_running_pods_is_no_field() -> None:
    ((place, _),) = found(ephemeralContainers=[])
    assert place == "spec.ephemeralContainers"


WRONG = {
    "is no text; put it in quotes": [
        ("priorityClassName", True),
        ("priorityClassName", "\ud800"),
        ("nodeSelector", {"pool": 7}),
        ("nodeSelector", {"\ud800": "a"}),
        ("dnsConfig", {"nameservers": [1]}),
        ("dnsConfig", {"nameservers": [None]}),
    ],
    "is no whole number; write one, as 2": [
        ("terminationGracePeriodSeconds", "600"),
        ("terminationGracePeriodSeconds", 1.5),
        ("terminationGracePeriodSeconds", True),
        ("terminationGracePeriodSeconds", 10**400),
    ],
    "is neither true nor false; write one of them": [("hostUsers", "no"), ("hostUsers", 0)],
    "is no quantity; write one, as 500m, 2 or 4Gi": [
        ("overhead", {"cpu": "lots"}),
        ("overhead", {"cpu": True}),
        ("overhead", {"cpu": -1}),
        ("overhead", {"cpu": float("nan")}),
        ("overhead", {"cpu": 10**400}),
        ("overhead", {"cpu": []}),
    ],
    "is neither a number nor a name; write one of them": [
        ("containers", [{"name": "buildkitd", "startupProbe": {"tcpSocket": {"port": 1.5}}}]),
    ],
    "is no map; write its fields below it, one a line": [
        ("affinity", "spread"),
        ("tolerations", [None]),
    ],
    "is no map; write its names below it, one a line, each followed by a colon": [
        ("nodeSelector", ["pool"]),
    ],
    "is no list; write its items below it, one a line, each after a hyphen": [
        ("tolerations", {"key": "builds"}),
    ],
    "is missing; write it": [
        ("containers", [{"image": "busybox"}]),
        ("containers", [{"name": "sidecar"}]),
        ("initContainers", [{"name": "buildkitd"}]),
        ("imagePullSecrets", [{}]),
        ("volumes", [{"$patch": "delete"}]),
        ("volumes", [{"name": "ssd", "hostPath": {"path": None}}]),
        ("topologySpreadConstraints", [{"topologyKey": "zone", "maxSkew": 1}]),
    ],
    "is there twice; write one item": [
        ("imagePullSecrets", [{"name": "a"}, {"name": "b"}, {"name": "a"}]),
    ],
    "is nothing; write one thing that it is, as emptyDir: {}": [("volumes", [{"name": "a"}])],
    "is emptyDir and hostPath; write one thing that it is, as emptyDir: {}": [
        ("volumes", [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/ssd"}}]),
    ],
    "is none of its values; take replace": [
        ("securityContext", {"$patch": "delete"}),
        ("nodeSelector", {"$patch": ["replace"]}),
    ],
    "is none of its values; take delete or replace": [
        ("imagePullSecrets", [{"$patch": "merge", "name": "a"}]),
    ],
    "is about the whole list; write it as an item of its own": [
        ("imagePullSecrets", [{"$patch": "replace", "name": "a"}]),
    ],
}


@pytest.mark.parametrize(
    ("complaint", "field", "value"),
    [(complaint, field, value) for complaint in WRONG for field, value in WRONG[complaint]],
)
def test_a_mistake_is_told_with_its_place(complaint: str, field: str, value: Any) -> None:
    place, said = one(**{field: value})
    assert said == complaint
    assert place.startswith(f"spec.{field}")


def test_an_item_that_replaces_nothing_in_a_list_without_keys_is_no_field() -> None:
    place, complaint = one(tolerations=[{"$patch": "replace"}])
    assert place == "spec.tolerations.0.$patch"
    assert complaint.startswith("is no field that can be set; they are ")


def test_all_mistakes_are_told_at_once() -> None:
    places = [
        place
        for place, _ in found(
            hostUsers="no",
            tolerations=[{"efect": "NoSchedule"}, {"key": 1}],
            containers=[{"name": "sidecar"}],
        )
    ]
    assert places == [
        "spec.hostUsers",
        "spec.tolerations.0.efect",
        "spec.tolerations.1.key",
        "spec.containers.0.image",
    ]


def test_a_stack_without_an_overlay_does_not_pay_for_the_check() -> None:
    script = (
        "import sys; from settings import parse; parse({'clients': '{\"dev\": {}}'}); "
        "sys.exit('kubernetes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=REPO).returncode == 0


def test_quantities_are_what_kubernetes_says_are() -> None:
    quantities = {
        field
        for properties in within().values()
        for field, schema in properties.items()
        if "resource.Quantity" in json.dumps(schema)
    }
    assert quantities == pod_overlay.QUANTITIES


def test_the_client_knows_the_same_fields_as_the_api() -> None:
    compared = 0
    for name, properties in within().items():
        *_, version, kind = name.split(".")
        model = getattr(models, f"{version.title()}{kind}", None) or getattr(
            models, f"Core{version.title()}{kind}"
        )
        assert set(model.attribute_map.values()) == set(properties), name
        compared += len(properties)
    assert compared > 500


# Words that the component has, too, so that what is drawn meets what is there.
WORDS = st.sampled_from(["buildkitd", "cache", "config", "certs", "a", "b", "/certs", ""])
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.sampled_from([0, 1, 1234, 2**31 - 1]),
    "object": WORDS | st.integers(1, 65535),
    "quantity": st.sampled_from(["1", "500m", "4Gi", 2, 0.5]),
    "str": WORDS,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def of_kind(draw: st.DrawFn, kind: str, depth: int, wild: bool) -> Any:
    """A value of *kind*; if *wild*, one in eight is anything."""
    if wild and draw(st.integers(0, 7)) == 0:
        return draw(ANYTHING)
    outer, _, inner = kind.removesuffix("]").rpartition("[")
    inner = inner.removeprefix("str, ")
    if outer == "list":
        items = [draw(of_kind(inner, depth, wild)) for _ in range(draw(st.integers(0, 2)))]
        return items
    if outer == "dict":
        return draw(st.dictionaries(WORDS, of_kind(inner, depth, wild), max_size=2))
    if inner in SCALARS:
        return draw(SCALARS[inner])
    return draw(of_model(inner, depth + 1, wild))


@st.composite
def of_model(draw: st.DrawFn, kind: str, depth: int, wild: bool) -> dict[str, Any]:
    fields = pod_overlay._fields(kind)
    required = sorted(pod_overlay._required(kind))
    some = draw(st.lists(st.sampled_from([*fields]), max_size=max(1, 5 - depth), unique=True))
    value = {
        field: draw(of_kind(fields[field], depth, wild))
        for field in dict.fromkeys([*required, *some])
    }
    if "image" in fields:
        value["image"] = "busybox"
    if draw(st.integers(0, 20)) == 0:
        value["$patch"] = draw(st.sampled_from(["delete", "replace", "merge"]))
    if wild and value and draw(st.integers(0, 5)) == 0:
        value[draw(st.sampled_from(sorted(value)))] = None
    return value


def drawn(wild: bool) -> st.SearchStrategy[dict[str, Any]]:
    return of_model("V1PodTemplateSpec", 0, wild)


def laid_over(overlay: dict[str, Any]) -> dict[str, Any]:
    made = record(
        lambda: BuildkitDeployment(
            "buildkitd",
            {"namespace": "build", "certificates": "certs", "daemon": {"pod": overlay}},
        )
    )
    return made.one("Deployment").inputs


DRAWN = hypothesis.settings(
    deadline=None,
    max_examples=150,
    # A pod has many fields, and drawing some of each takes its time.
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)


def judged(overlay: dict[str, Any]) -> bool:
    """Whether *overlay* is taken; then what comes of it is Kubernetes'."""
    complaints = [*mistakes(overlay)]
    for place, complaint in complaints:
        assert path(place) and complaint
        assert "\n" not in complaint
    if not complaints:
        validate(laid_over(overlay))
    return not complaints


@DRAWN
@given(drawn(wild=False))
def test_an_overlay_that_is_taken_gives_what_kubernetes_knows(overlay: dict[str, Any]) -> None:
    hypothesis.event(f"taken: {judged(overlay)}")


@DRAWN
@given(drawn(wild=True))
def test_nothing_that_is_written_makes_a_traceback(overlay: dict[str, Any]) -> None:
    hypothesis.event(f"taken: {judged(overlay)}")
