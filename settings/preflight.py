"""What only the cluster can tell of a stack's configuration, asked before anything is made.

Where nothing has to be asked, nothing is, and the Kubernetes client is not even imported.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pulumi
from pulumi_buildkit import Security, autoscaler, monitoring
from pulumi_buildkit.metadata import labels
from pulumi_buildkit.quantity import number
from pulumi_buildkit.security import VARIANTS
from pulumi_buildkit.volume import CLAIM_SIZE, VolumeKind

from settings.mistakes import Mistake, Place, line
from settings.modes import Mode
from settings.stack import WORKLOAD, Settings

if TYPE_CHECKING:
    from settings.cluster import Cluster

_USER_NAMESPACES = (1, 33)
_POD_SECURITY = "pod-security.kubernetes.io/enforce"
_REGISTRY_CREDENTIALS = "kubernetes.io/dockerconfigjson"

# What tells the claims that a mode's pods use from those that another mode left.
_CLAIMS = {Mode.POD: "-pod", Mode.DEPLOYMENT: "", Mode.STATEFULSET: r"-\d+"}


class _Question(NamedTuple):
    place: Place
    """The key whose value depends on the answer."""
    arises: Callable[[Settings], object]
    ask: "Callable[[Settings, Cluster, str], Iterator[Mistake]]"
    in_namespace: bool
    """Whether it is about what is in the stack's namespace."""


def check(settings: Settings) -> list[str]:
    """A line for each value in *settings* that the cluster can't bear.

    What it does not say is left open, with a warning. A namespace that is not named in *settings*
    is known later: see `check_in`.
    """
    known = settings.namespace or ""
    return _check(settings, known, [q for q in _QUESTIONS if known or not q.in_namespace])


def check_in(settings: Settings, namespace: str) -> list[str]:
    """The same for a *namespace* that Pulumi named: what it has from earlier updates."""
    return _check(settings, namespace, [q for q in _QUESTIONS if q.in_namespace])


def _check(settings: Settings, namespace: str, questions: Sequence[_Question]) -> list[str]:
    arising = [question for question in questions if question.arises(settings)]
    if not arising:
        return []
    # Half a second, which no other stack shall pay.
    from settings.cluster import Cluster, NoAnswerError

    mistakes: list[Mistake] = []
    unknown: dict[str, str] = {}
    with Cluster() as cluster:
        for question in arising:
            try:
                mistakes += question.ask(settings, cluster, namespace)
            except NoAnswerError as error:
                unknown[_key(question)] = str(error)
    if unknown:
        reasons = "; ".join(dict.fromkeys(unknown.values()))
        pulumi.log.warn(f"not checked against the cluster: {', '.join(unknown)} ({reasons})")
    return [line(mistake) for mistake in mistakes]


def _key(question: _Question) -> str:
    return ".".join(map(str, question.place))


def _server_is_too_old(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    if cluster.version < _USER_NAMESPACES:
        needed, found = (".".join(map(str, v)) for v in (_USER_NAMESPACES, cluster.version))
        yield Mistake(
            ("security",),
            f"needs Kubernetes {needed} or newer, and the server has {found}; take rootless or "
            "privileged, or update the cluster",
            settings.security.value,
        )


def _no_such_class(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    place, name = ("volume", "storageClass"), settings.volume.storage_class
    there = ", ".join(sorted(cluster.storage_classes))
    instead = f"take one of {there}" if there else "it has none; take kind: emptyDir, or make one"
    if name is not None and name not in cluster.storage_classes:
        yield Mistake(place, f"is no storage class of the cluster; {instead}", name)
    if name is None and not cluster.has_default_storage_class():
        yield Mistake(place, f"is missing, and the cluster has no default one; {instead}")


def _claims(settings: Settings, cluster: "Cluster", namespace: str) -> Iterator[Any]:
    """The claims that are there of those that the mode's pods use."""
    name = f"{VARIANTS[settings.security].cache}-{WORKLOAD}{_CLAIMS[settings.mode]}"
    for claim in cluster.claims(namespace, labels(WORKLOAD, "buildkitd")):
        if re.fullmatch(name, claim.metadata.name):
            yield claim


def _claims_are_of_another_class(
    settings: Settings, cluster: "Cluster", namespace: str
) -> Iterator[Mistake]:
    # Pulumi would delete the claim first, and wait in vain: its pod still has it.
    wanted = settings.volume.storage_class
    for claim in _claims(settings, cluster, namespace):
        now = claim.spec.storage_class_name
        if now and now != wanted:
            yield Mistake(
                ("volume", "storageClass"),
                f"is another than the claim {claim.metadata.name} has, {now}, and a claim never "
                f"changes it; take {now}, or let the claim go first: volume.protect: false, "
                "`pulumi up`, volume.kind: emptyDir, `pulumi up`",
                wanted,
            )


def _claims_can_t_become_so(
    settings: Settings, cluster: "Cluster", namespace: str
) -> Iterator[Mistake]:
    size = settings.volume.size or CLAIM_SIZE
    for claim in _claims(settings, cluster, namespace):
        now = claim.spec.resources.requests["storage"]
        there = f"the claim {claim.metadata.name} has {now}"
        if number(size) < number(now):
            yield Mistake(
                ("volume", "size"),
                f"is too small: {there}, and a claim never shrinks; take {now} or more",
                size,
            )
        elif number(size) > number(now) and not _can_grow(cluster, claim.spec.storage_class_name):
            yield Mistake(
                ("volume", "size"),
                f"is too large: {there}, and its storage class {claim.spec.storage_class_name} "
                f"lets no claim grow (allowVolumeExpansion); take {now}",
                size,
            )


def _can_grow(cluster: "Cluster", storage_class: str | None) -> bool:
    found = cluster.storage_classes.get(storage_class or "")
    return bool(found and found.allow_volume_expansion)


def _namespace_is_not_ready(settings: Settings, cluster: "Cluster", name: str) -> Iterator[Mistake]:
    found = cluster.namespace(name)
    if found is None:
        yield Mistake(
            ("namespace",),
            "is not there, and createNamespace is false; make it, or take createNamespace away",
            name,
        )
        return
    level = (found.metadata.labels or {}).get(_POD_SECURITY, "privileged")
    if level != "privileged":
        yield Mistake(
            ("namespace",),
            f"has the label {_POD_SECURITY}={level}, which forbids BuildKit's pods; set it to "
            "privileged there, or take another namespace",
            name,
        )


def _client_s_namespace_is_missing(
    settings: Settings, cluster: "Cluster", own: str
) -> Iterator[Mistake]:
    for name, client in settings.clients.items():
        namespace = client.namespace
        if namespace and namespace != own and cluster.namespace(namespace) is None:
            yield Mistake(("clients", name, "namespace"), "is not there; make it first", namespace)


def _own_certificate_fails(
    settings: Settings, cluster: "Cluster", namespace: str
) -> Iterator[Mistake]:
    from settings.own_certificates import secret_mistakes

    place, name = ("certificates", "existingSecret"), settings.certificates.existing_secret
    assert name is not None
    found = cluster.secret(namespace, name)
    if found is None:
        yield Mistake(place, f"is no Secret in the namespace {namespace}; make it first", name)
        return
    layout, host = settings.certificates.layout, settings.gateway.host
    hosts = [host] if host else []
    for complaint in secret_mistakes(found.data or {}, layout, hosts, datetime.now(UTC)):
        yield Mistake(place, complaint, name)


def _job_lacks_secrets(settings: Settings, cluster: "Cluster", namespace: str) -> Iterator[Mistake]:
    job = settings.job
    assert job is not None
    if cluster.namespace(namespace) is None:
        # It is about to be made, and nothing can be in it; the build says what it misses.
        return
    if (name := job.registry_credentials) is not None:
        found = cluster.secret(namespace, name)
        if found is None or found.type != _REGISTRY_CREDENTIALS:
            yield Mistake(
                ("job", "registryCredentials"),
                f"is no Secret of the type {_REGISTRY_CREDENTIALS} in the namespace {namespace}; "
                "make it: kubectl create secret docker-registry",
                name,
            )
    for identifier, wanted in job.secrets.items():
        found = cluster.secret(namespace, wanted.secret)
        place = ("job", "secrets", identifier)
        if found is None:
            complaint = f"is no Secret in the namespace {namespace}; make it first"
            yield Mistake((*place, "secret"), complaint, wanted.secret)
        elif wanted.key not in (found.data or {}):
            has = ", ".join(sorted(found.data or {})) or "none"
            complaint = f"is no key of the Secret {wanted.secret}; its keys are {has}"
            yield Mistake((*place, "key"), complaint, wanted.key)


def _keda_is_missing(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    if not cluster.serves(*autoscaler.API_VERSION.split("/")):
        yield Mistake(
            ("autoscaling",),
            f"needs KEDA, and the cluster does not have it ({autoscaler.API_VERSION}); install it: "
            "helm install keda keda --repo https://kedacore.github.io/charts --namespace keda "
            "--create-namespace",
        )


def _prometheus_operator_is_missing(
    settings: Settings, cluster: "Cluster", _: str
) -> Iterator[Mistake]:
    if not cluster.serves(*monitoring.API_VERSION.split("/")):
        yield Mistake(
            ("monitoring",),
            "needs the Prometheus operator for podMonitor and rules, and the cluster does not have "
            f"it ({monitoring.API_VERSION}); install it: helm install prometheus "
            "kube-prometheus-stack --repo https://prometheus-community.github.io/helm-charts "
            "--namespace monitoring --create-namespace",
        )


def _has_claims(settings: Settings) -> bool:
    return settings.volume_kind is VolumeKind.CLAIM


_QUESTIONS = (
    _Question(
        ("security",),
        lambda settings: settings.security is Security.USERNS,
        _server_is_too_old,
        in_namespace=False,
    ),
    _Question(
        ("namespace",),
        lambda settings: settings.namespace and not settings.create_namespace,
        _namespace_is_not_ready,
        in_namespace=True,
    ),
    _Question(
        ("clients",),
        lambda settings: any(client.namespace for client in settings.clients.values()),
        _client_s_namespace_is_missing,
        in_namespace=False,
    ),
    _Question(
        ("certificates", "existingSecret"),
        lambda settings: settings.certificates.existing_secret,
        _own_certificate_fails,
        in_namespace=True,
    ),
    _Question(("volume", "storageClass"), _has_claims, _no_such_class, in_namespace=False),
    _Question(
        ("volume", "storageClass"),
        lambda settings: _has_claims(settings) and settings.volume.storage_class,
        _claims_are_of_another_class,
        in_namespace=True,
    ),
    _Question(
        ("autoscaling",),
        lambda settings: settings.follows_builds,
        _keda_is_missing,
        in_namespace=False,
    ),
    _Question(
        ("monitoring",),
        lambda settings: settings.monitoring.needs_operator,
        _prometheus_operator_is_missing,
        in_namespace=False,
    ),
    _Question(("volume", "size"), _has_claims, _claims_can_t_become_so, in_namespace=True),
    _Question(
        ("job",),
        lambda settings: (
            settings.job and (settings.job.registry_credentials or settings.job.secrets)
        ),
        _job_lacks_secrets,
        in_namespace=True,
    ),
)
