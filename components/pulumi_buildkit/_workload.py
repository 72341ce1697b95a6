"""The parts that a Pod, a Deployment and a StatefulSet of buildkitd have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Required, TypedDict, cast

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _buildkitd_toml, _drain, _pod
from pulumi_buildkit._overlay_rules import Target
from pulumi_buildkit._rollout import TIMEOUT, awaited, rolling_config
from pulumi_buildkit.daemon import DaemonArgs
from pulumi_buildkit.metadata import labels, metadata, selector
from pulumi_buildkit.overlay import merged
from pulumi_buildkit.secret_layout import SecretLayout
from pulumi_buildkit.volume import CLAIM_SIZE, VolumeArgs, VolumeKind

_EMPTY_DIR = "buildkitd"


class _Args(TypedDict, total=False):
    """The arguments that the three components share; each says more of its own."""

    namespace: Required[pulumi.Input[str]]
    daemon: DaemonArgs
    certificates: pulumi.Input[str]
    certificates_layout: SecretLayout
    volume: VolumeArgs
    autoscaled: bool
    update_timeout: int


@dataclass(frozen=True)
class Workload:
    """Makes the children of the component *parent*."""

    parent: pulumi.ComponentResource
    name: str
    namespace: pulumi.Input[str]
    daemon: DaemonArgs
    certificates: _pod.Certificates | None
    has_claims: bool
    """Whether the cache outlives its pod."""
    volume: VolumeArgs
    autoscaled: bool
    """Whether somebody else says how many pods there are."""
    update_timeout: int

    @classmethod
    def of(
        cls,
        parent: pulumi.ComponentResource,
        name: str,
        arguments: Mapping[str, object],
        kind: VolumeKind,
    ) -> "Workload":
        """From a component's arguments, with *kind* as the default of its volume.

        Raises:
            ValueError: the arguments contradict each other.
        """
        args = cast("_Args", arguments)
        volume = args.get("volume", {})
        has_claims = VolumeKind(volume.get("kind", kind)) is VolumeKind.CLAIM
        lost = () if has_claims else sorted({"storage_class", "protect"}.intersection(volume))
        if lost:
            raise ValueError(
                f"{name}: volume: {' and '.join(lost)} can be said of a claim only, and the kind "
                "is emptyDir; take them away, or take kind claim"
            )
        secret = args.get("certificates")
        layout = SecretLayout(args.get("certificates_layout", SecretLayout.DAEMON))
        return cls(
            parent=parent,
            name=name,
            namespace=args["namespace"],
            daemon=args.get("daemon", {}),
            certificates=None if secret is None else _pod.Certificates(secret, layout),
            has_claims=has_claims,
            volume=volume,
            autoscaled=bool(args.get("autoscaled")),
            update_timeout=int(args.get("update_timeout", TIMEOUT)),
        )

    @property
    def cache(self) -> str:
        """What the cache's volume is called in the pod."""
        return _pod.variant(self.daemon).cache if self.has_claims else _EMPTY_DIR

    @property
    def size(self) -> str | None:
        """Of the cache's volume, where that is known."""
        return self.volume.get("size", CLAIM_SIZE if self.has_claims else None)

    def metadata(
        self, name: str | None, annotations: dict[str, str] | None = None
    ) -> k8s.meta.v1.ObjectMetaArgs:
        """Of a child called *name*; without one Pulumi names it."""
        return metadata(name, self.namespace, labels(self.name, "buildkitd"), annotations)

    def buildkitd(self) -> _pod.Buildkitd:
        """What the pods run; makes its configuration."""
        cache = _buildkitd_toml.Cache(self.size, on_node=not self.has_claims)
        files = _buildkitd_toml.files(self.daemon, cache)
        config = rolling_config(self.parent, f"{self.name}-config", self.metadata(None), files)
        on_node = None if self.has_claims else self.size
        daemon = _pod.storing(on_node, self.daemon)
        return _pod.Buildkitd(self.name, daemon, config, self.certificates)

    def pod_template(
        self,
        of: _pod.Buildkitd,
        suffix: str = "",
        metadata: k8s.meta.v1.ObjectMetaArgs | None = None,
    ) -> k8s.core.v1.PodTemplateSpecArgs:
        """Of the only pod, which has the only claim; or of pods with an emptyDir each."""
        volumes = [self._claimed(self.claim(suffix))] if self.has_claims else self.empty_dirs()
        # A pod that stands alone has its name to itself.
        shares = self.has_claims and metadata is None
        return _pod.pod_template(
            of, self.cache, volumes, metadata, **(sharing(self.name) if shares else {})
        )

    def empty_dirs(self) -> list[k8s.core.v1.VolumeArgs]:
        """The cache's volume where it ends with its pod."""
        return [] if self.has_claims else [_pod.empty_dir(self.cache, self.size)]

    def _claimed(self, claim: k8s.core.v1.PersistentVolumeClaim) -> k8s.core.v1.VolumeArgs:
        return k8s.core.v1.VolumeArgs(
            name=self.cache,
            persistent_volume_claim=k8s.core.v1.PersistentVolumeClaimVolumeSourceArgs(
                claim_name=claim.metadata.name.apply(str)
            ),
        )

    def claim(self, suffix: str) -> k8s.core.v1.PersistentVolumeClaim:
        """Make a claim for a cache; *suffix* tells it from those of the other workloads."""
        name = f"{self.cache}-{self.name}{suffix}"
        return k8s.core.v1.PersistentVolumeClaim(
            name,
            # Classes that bind late leave it pending until its pod is there, which is waited for.
            metadata=self.metadata(name, {"pulumi.com/skipAwait": "true"}),
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
                access_modes=["ReadWriteOnce"],
                storage_class_name=self.volume.get("storage_class"),
                resources=k8s.core.v1.VolumeResourceRequirementsArgs(
                    requests={"storage": self.size or CLAIM_SIZE}
                ),
            ),
            opts=pulumi.ResourceOptions(
                parent=self.parent,
                # Protected with the component, too.
                protect=bool(self.volume.get("protect", True)) or None,
                # A claim never changes it. Pulumi would delete the claim, and wait for its pod.
                ignore_changes=["spec.storageClassName"],
            ),
        )

    def replicas(self, number: int) -> int | None:
        """How many pods are asked for; where somebody else says it, Kubernetes begins with one."""
        return None if self.autoscaled else number

    def awaited(self, in_turn: int = 0) -> pulumi.ResourceOptions:
        """Options of the child whose pods an update waits for; *in_turn* old ones go before."""
        going = _drain.grace_period(_pod.drain_timeout(self.daemon))
        return pulumi.ResourceOptions.merge(
            awaited(self.parent, self.update_timeout, going, in_turn),
            # A number from before would be let go otherwise, and become Kubernetes' own: one.
            pulumi.ResourceOptions(ignore_changes=["spec.replicas"] if self.autoscaled else None),
        )

    def proven(
        self, of: _pod.Buildkitd, in_turn: int = 1, after: Sequence[pulumi.Resource] = ()
    ) -> pulumi.ResourceOptions:
        """Options of a child whose old pods, *in_turn* of them, stop before the new ones start.

        A Job starts the same buildkitd first: what fails there never stops the one that runs.
        """
        proof = k8s.batch.v1.Job(
            f"{self.name}-proof",
            # Auto-named: a Job can't change, and the next one is there before this one goes. One
            # that failed runs again in the next update, though nothing in it has changed.
            metadata=self.metadata(None, {"pulumi.com/replaceUnready": "true"}),
            spec=k8s.batch.v1.JobSpecArgs(
                active_deadline_seconds=self.update_timeout,
                backoff_limit=0,
                template=_pod.proof_template(of),
            ),
            opts=awaited(self.parent, self.update_timeout),
        )
        return pulumi.ResourceOptions.merge(
            self.awaited(in_turn), pulumi.ResourceOptions(depends_on=[proof, *after])
        )

    def service(self) -> None:
        """Make the Service that leads to the pods' TCP port, if they have one."""
        if self.certificates is None:
            return
        k8s.core.v1.Service(
            self.name,
            self.with_overlay(
                # Clients wait for buildkitd at the gateway, so an update need not wait for it here.
                self.metadata(self.name, {"pulumi.com/skipAwait": "true"}),
                service_spec(self.name),
            ),
            opts=pulumi.ResourceOptions(parent=self.parent),
        )

    def with_overlay(
        self, metadata: k8s.meta.v1.ObjectMetaArgs, spec: k8s.core.v1.ServiceSpecArgs
    ) -> k8s.core.v1.ServiceInitArgs:
        """A Service that leads to the pods, with its overlay."""
        plain = k8s.core.v1.ServiceInitArgs(metadata=metadata, spec=spec)
        overlay = self.daemon.get("service_overlay", {})
        return merged(plain, overlay, Target.BUILDKITD_SERVICE)


def service_spec(name: str) -> k8s.core.v1.ServiceSpecArgs:
    """The Service of the workload *name*, at one address."""
    return k8s.core.v1.ServiceSpecArgs(
        selector=selector(name),
        ports=[k8s.core.v1.ServicePortArgs(port=_pod.PORT, target_port="buildkitd")],
    )


def headless_spec(name: str) -> k8s.core.v1.ServiceSpecArgs:
    """The Service that gives each pod of the workload *name* a name in the DNS."""
    return k8s.core.v1.ServiceSpecArgs(cluster_ip="None", selector=selector(name))


# What the pods have that are kept apart. Those of another mode, or without the claim, are not: in
# a switch the new ones start before the old ones stop.
_SHARING = {"buildkit/cache": "claim"}


def sharing(name: str) -> dict[str, Any]:
    """What the pods of the component *name* have where all of them have the same claim."""
    return {"labels": _SHARING, "affinity": _apart(name)}


def _apart(name: str) -> k8s.core.v1.AffinityArgs:
    """Keeps a pod of the component *name* waiting while there is another one anywhere.

    Two must not meet on one volume, and a Deployment that is scaled up again does not wait for the
    pod that still drains. All nodes have the label of their operating system.
    """
    return k8s.core.v1.AffinityArgs(
        pod_anti_affinity=k8s.core.v1.PodAntiAffinityArgs(
            required_during_scheduling_ignored_during_execution=[
                k8s.core.v1.PodAffinityTermArgs(
                    label_selector=k8s.meta.v1.LabelSelectorArgs(
                        match_labels=selector(name) | _SHARING
                    ),
                    topology_key="kubernetes.io/os",
                )
            ]
        )
    )


def service_host(name: pulumi.Input[str], namespace: pulumi.Input[str]) -> pulumi.Output[str]:
    """The name of the Service *name* in the cluster's DNS."""
    return pulumi.Output.concat(name, ".", namespace, ".svc")
