"""What only the cluster can tell of a stack's configuration, asked before anything is made.

Where nothing has to be asked, nothing is, and the Kubernetes client is not even imported.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pulumi
from pulumi_buildkit import Security, ServiceType, autoscaler, monitoring
from pulumi_buildkit._overlay_rules import Effect
from pulumi_buildkit.metadata import labels
from pulumi_buildkit.quantity import number
from pulumi_buildkit.security import VARIANTS
from pulumi_buildkit.volume import CLAIM_SIZE, VolumeKind

from settings import overlay_secrets, overlays, placement, room
from settings.extent import Preflight
from settings.mistakes import Mistake, Place, line
from settings.modes import Mode
from settings.stack import GATEWAY, PROJECT, WORKLOAD, Settings

if TYPE_CHECKING:
    from settings.cluster import Cluster

_USER_NAMESPACES = (1, 33)
_POD_SECURITY = "pod-security.kubernetes.io/enforce"
_LEVELS = ("privileged", "baseline", "restricted")
_REGISTRY_CREDENTIALS = "kubernetes.io/dockerconfigjson"

# What tells the claims that a mode's pods use from those that another mode left.
_CLAIMS = {Mode.POD: "-pod", Mode.DEPLOYMENT: "", Mode.STATEFULSET: r"-\d+"}


_NOT_PROVISIONED = "kubernetes.io/no-provisioner"
# What provisions the volumes of classes that name a plugin of old, since Kubernetes 1.27 at the
# latest. Each makes itself known as a CSIDriver.
# https://kubernetes.io/docs/concepts/storage/volumes/#migrating-to-csi-drivers-from-in-tree-plugins
_DRIVERS = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}

# Classes of load balancers that one controller makes, which brings an API of its own. There is no
# object for a class: of any other one nothing can be known.
_BALANCERS = {
    "service.k8s.aws/nlb": ("elbv2.k8s.aws", "the AWS Load Balancer Controller"),
    "eks.amazonaws.com/": ("eks.amazonaws.com", "EKS Auto Mode"),
    "networking.gke.io/": ("networking.gke.io", "GKE"),
    "io.cilium/": ("cilium.io", "Cilium"),
    "tailscale": ("tailscale.com", "Tailscale's operator"),
}


class _Doubt(Mistake):
    """What may go well all the same: it is said, and nothing is refused for it."""


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
    _settle(_own_pem_ends(settings))
    _settle(_overlays_risk(settings))
    known = settings.namespace or ""
    return _check(settings, known, [q for q in _QUESTIONS if known or not q.in_namespace])


def check_in(settings: Settings, namespace: str) -> list[str]:
    """The same for a *namespace* that Pulumi named: what it has from earlier updates."""
    return _check(settings, namespace, [q for q in _QUESTIONS if q.in_namespace])


def _check(settings: Settings, namespace: str, questions: Sequence[_Question]) -> list[str]:
    arising = [question for question in questions if question.arises(settings)]
    if not arising or settings.preflight is Preflight.NONE:
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
    _warn_of(unknown)
    return _settle(mistakes)


def _settle(found: Iterable[Mistake]) -> list[str]:
    """The lines of the mistakes; doubts are said."""
    lines: list[str] = []
    for each in found:
        say = pulumi.log.warn if isinstance(each, _Doubt) else lines.append
        say(line(each))
    return lines


def _warn_of(unknown: Mapping[str, str]) -> None:
    if unknown:
        reasons = "; ".join(dict.fromkeys(unknown.values()))
        pulumi.log.warn(f"not checked against the cluster: {', '.join(unknown)} ({reasons})")


def _key(question: _Question) -> str:
    return ".".join(map(str, question.place))


def node_kinds(settings: Settings) -> dict[str, str]:
    """A node of each kind that buildkitd may run on, by the kind; the oldest stays the longest.

    None where the cluster does not say which there are: a warning does.
    """
    from settings.cluster import Cluster, NoAnswerError

    spec = settings.pod.get("spec") or {}
    with Cluster() as cluster:
        try:
            found = placement.kinds(placement.candidates(cluster.nodes, spec))
        except NoAnswerError as error:
            _warn_of({"preflight": str(error)})
            return {}
    return {kind: nodes[0].metadata.name for kind, nodes in found.items()}


def _server_is_too_old(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    if cluster.version < _USER_NAMESPACES:
        needed, found = (".".join(map(str, v)) for v in (_USER_NAMESPACES, cluster.version))
        yield Mistake(
            ("security",),
            f"needs Kubernetes {needed} or newer, and the server has {found}; take rootless or "
            "privileged, or update the cluster",
            settings.security.value,
        )


def _no_runtime_can(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    nodes = placement.candidates(cluster.nodes, settings.pod.get("spec") or {})
    # Kubelets that say nothing of their runtimes leave it open.
    said = [
        handler.features.user_namespaces
        for node in nodes
        for handler in node.status.runtime_handlers or ()
        if handler.features
    ]
    if said and not any(said):
        runtimes = sorted({node.status.node_info.container_runtime_version for node in nodes})
        yield Mistake(
            ("security",),
            f"needs nodes whose container runtime has user namespaces, and none has ("
            f"{', '.join(runtimes)}); take rootless or privileged, or update containerd to 2.0 and "
            "runc to 1.2, or their likes",
            settings.security.value,
        )


def _no_room(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    yield from (_Doubt(*complaint) for complaint in room.unschedulable(settings, cluster.nodes))
    complaints = [*room.complaints(settings, cluster.nodes)]
    if complaints:
        kind = _Doubt if cluster.adds_nodes else Mistake
        yield from (kind(*complaint) for complaint in complaints)


def _volumes_can_t_be_had(settings: Settings, cluster: "Cluster", own: str) -> Iterator[Mistake]:
    place, name = ("volume", "storageClass"), settings.volume.storage_class
    found = cluster.storage_class(name)
    # That there is none is said already.
    provisioner = found.provisioner if found else ""
    driver = _DRIVERS.get(provisioner, provisioner)
    if driver in _DRIVERS.values() and driver not in cluster.csi_drivers:
        yield Mistake(
            place,
            f"is a class whose volumes {driver} makes, and the cluster does not have that driver; "
            "install it, or take another class",
            found.metadata.name,
        )
    if provisioner == _NOT_PROVISIONED:
        yield from _too_few_volumes(settings, cluster, found.metadata.name, own)


def _too_few_volumes(
    settings: Settings, cluster: "Cluster", name: str, own: str
) -> Iterator[Mistake]:
    size = settings.volume.size or CLAIM_SIZE
    wanted = settings.scale.most if settings.mode is Mode.STATEFULSET else 1
    there = [
        volume
        for volume in cluster.volumes
        if volume.spec.storage_class_name == name
        and number(volume.spec.capacity["storage"]) >= number(size)
        and "ReadWriteOnce" in volume.spec.access_modes
        and (volume.status.phase == "Available" or _is_ours(settings, volume.spec.claim_ref, own))
    ]
    if len(there) < wanted:
        yield Mistake(
            ("volume", "storageClass"),
            f"is a class whose volumes are made by hand ({_NOT_PROVISIONED}), and {len(there)} of "
            f"the {wanted} that are needed are there, free, ReadWriteOnce and of {size} or more; "
            "make the others, or take another class",
            name,
        )


def _is_ours(settings: Settings, claimed: Any, namespace: str) -> bool:
    # One that Pulumi named is not known yet.
    is_there = bool(claimed) and namespace in ("", claimed.namespace)
    return is_there and _is_claim(settings, claimed.name)


def _no_load_balancer(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    name = settings.gateway.load_balancer_class
    assert name is not None
    for prefix, (group, maker) in _BALANCERS.items():
        if name.startswith(prefix) and group not in cluster.api_groups:
            yield Mistake(
                ("gateway", "loadBalancerClass"),
                f"is {maker}'s, and the cluster does not have its API ({group}); take a class that "
                "somebody makes there, or take it away for the cluster's own load balancers",
                name,
            )


def _load_balancer_is_of_another_class(
    settings: Settings, cluster: "Cluster", namespace: str
) -> Iterator[Mistake]:
    from settings.cluster import is_set_by_pulumi

    wanted = settings.gateway.load_balancer_class
    found = cluster.service(namespace, GATEWAY)
    if found is None or found.spec.type != ServiceType.LOAD_BALANCER.value:
        return
    now = found.spec.load_balancer_class
    # A class that a webhook set stays where the stack names none.
    if wanted is None and not is_set_by_pulumi(found, "spec", "loadBalancerClass"):
        return
    if wanted != now:
        expected, as_now = (now, f"set {now}") if now else ("none", "remove it")
        yield Mistake(
            ("gateway", "loadBalancerClass"),
            f"is invalid: expected {expected}, as a Service of type LoadBalancer never changes its "
            f"class. Either {as_now}, or get a new load balancer, with another address: set "
            "gateway.service: ClusterIP without a class, run `pulumi up`, set gateway.service: "
            "LoadBalancer and the new class, and run `pulumi up` again",
            wanted,
        )


def _no_such_class(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    place, name = ("volume", "storageClass"), settings.volume.storage_class
    there = ", ".join(sorted(cluster.storage_classes))
    instead = f"take one of {there}" if there else "it has none; take kind: emptyDir, or make one"
    if name is not None and name not in cluster.storage_classes:
        yield Mistake(place, f"is no storage class of the cluster; {instead}", name)
    if name is None and cluster.storage_class(name) is None:
        yield Mistake(place, f"is missing, and the cluster has no default one; {instead}")


def _claims(settings: Settings, cluster: "Cluster", namespace: str) -> Iterator[Any]:
    """The claims that are there of those that the mode's pods use."""
    for claim in cluster.claims(namespace, labels(WORKLOAD, "buildkitd")):
        if _is_claim(settings, claim.metadata.name):
            yield claim


def _is_claim(settings: Settings, name: str) -> bool:
    """Whether claims of the mode's pods are called so."""
    ours = f"{VARIANTS[settings.security].cache}-{WORKLOAD}{_CLAIMS[settings.mode]}"
    return bool(re.fullmatch(ours, name))


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
    strictest = (
        "privileged"
        if settings.user_namespaces.enabled
        else VARIANTS[settings.security].pod_security
    )
    if level in _LEVELS[_LEVELS.index(strictest) + 1 :]:
        # What the overlay makes of it, the API server judges.
        kind = _Doubt if _has_its_own_context(settings) else Mistake
        yield kind(
            ("namespace",),
            f"has the label {_POD_SECURITY}={level}, which forbids BuildKit's pods; set it to "
            f"{strictest} there, or take another namespace",
            name,
        )


def _has_its_own_context(settings: Settings) -> bool:
    spec = settings.pod.get("spec") or {}
    return any(part.get("securityContext") for part in (spec, *(spec.get("containers") or ())))


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
    from settings.own_certificates import secret_ending, secret_mistakes

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
    for complaint in secret_ending(found.data or {}, layout, datetime.now(UTC)):
        yield _Doubt(place, complaint, name)


def _own_pem_ends(settings: Settings) -> Iterator[Mistake]:
    of = settings.certificates
    if of.ca is not None and of.cert is not None and of.key_pem is not None:
        from settings.own_certificates import ending

        for complaint in ending(of.ca, of.cert, of.key_pem, datetime.now(UTC)):
            key, _, what = complaint.partition(": ")
            yield _Doubt(("certificates", key), what)


def _overlays_risk(settings: Settings) -> Iterator[Mistake]:
    for overlay in overlays.OVERLAYS:
        if overlay.is_used(settings):
            for conflict in overlay.conflicts(settings, Effect.WARNED):
                yield _Doubt(*conflict)


def _overlay_lacks_secrets(
    settings: Settings, cluster: "Cluster", namespace: str
) -> Iterator[Mistake]:
    if cluster.namespace(namespace) is None:
        return
    for mention in _mentions(settings):
        found = cluster.secret(namespace, mention.name)
        kind = _Doubt if mention.optional else Mistake
        if found is None:
            complaint = f"is no Secret in the namespace {namespace}; make it first"
            # What is called as the stack's own Secrets are, it may be about to make.
            if not mention.name.startswith(PROJECT):
                yield kind(mention.place, complaint, mention.name)
            continue
        for place, key in mention.keys:
            if key not in (found.data or {}):
                yield kind(place, _no_key(mention.name, found), key)


def _no_key(name: str, secret: Any) -> str:
    has = ", ".join(sorted(secret.data or {})) or "none"
    return f"is no key of the Secret {name}; its keys are {has}"


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
            yield Mistake((*place, "key"), _no_key(wanted.secret, found), wanted.key)


def _keda_is_missing(settings: Settings, cluster: "Cluster", _: str) -> Iterator[Mistake]:
    if not cluster.serves(*autoscaler.API_VERSION.split("/")):
        yield Mistake(
            ("autoscaling",),
            f"needs KEDA, and the cluster does not have it ({autoscaler.API_VERSION}); install it: "
            "helm install keda keda --repo https://kedacore.github.io/charts --namespace keda "
            "--create-namespace",
        )


def _names_secrets(settings: Settings) -> bool:
    return any(True for _ in _mentions(settings))


def _mentions(settings: Settings) -> Iterator[overlay_secrets.Mention]:
    for place, overlay in overlays.used(settings):
        yield from overlay_secrets.mentions(overlay, place)


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
        ("security",),
        lambda settings: settings.security is Security.USERNS,
        _no_runtime_can,
        in_namespace=False,
    ),
    _Question(("resources",), room.is_asked_for, _no_room, in_namespace=False),
    _Question(("pod",), _names_secrets, _overlay_lacks_secrets, in_namespace=True),
    _Question(
        ("gateway", "loadBalancerClass"),
        lambda settings: (
            settings.has_gateway
            and settings.gateway.service is ServiceType.LOAD_BALANCER
            and settings.gateway.load_balancer_class
        ),
        _no_load_balancer,
        in_namespace=False,
    ),
    _Question(
        ("gateway", "loadBalancerClass"),
        lambda settings: (
            settings.has_gateway and settings.gateway.service is ServiceType.LOAD_BALANCER
        ),
        _load_balancer_is_of_another_class,
        in_namespace=True,
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
    _Question(("volume", "storageClass"), _has_claims, _volumes_can_t_be_had, in_namespace=False),
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
