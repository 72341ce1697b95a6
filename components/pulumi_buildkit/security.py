"""The security variants of BuildKit, and all that differs between them."""

from dataclasses import dataclass, replace
from enum import Enum

import pulumi_kubernetes as k8s


class Security(str, Enum):
    """How much of the node buildkitd may touch."""

    ROOTLESS = "rootless"
    """As user 1000 in a user namespace of RootlessKit's: no root on the node."""
    PRIVILEGED = "privileged"
    """As root on the node, with every capability."""
    USERNS = "userns"
    """As root in a user namespace of the kubelet's: Kubernetes 1.33 or newer."""


_IMAGE = "docker.io/moby/buildkit:v0.34.2"


@dataclass(frozen=True)
class Variant:
    """What one security variant means for a pod, from the *.VARIANT.yaml of upstream's examples."""

    image: str
    """The official image."""
    buildkitd: str
    """What `buildctl-daemonless.sh` starts."""
    buildkitd_args: tuple[str, ...]
    """Arguments that only this variant needs."""
    socket: str
    """The Unix socket that buildctl in the pod uses."""
    data_directory: str
    """Where buildkitd keeps its cache; a volume is mounted there."""
    writable: tuple[str, ...]
    """Where else it writes, if it can't write anywhere: a volume is mounted there, too."""
    group: int
    """The group in its container that its sockets belong to."""
    cache: str
    """What its claims are called: variants with the same name can read each other's cache."""
    security_context: k8s.core.v1.SecurityContextArgs
    """Of buildkitd's container."""
    pod_security_context: k8s.core.v1.PodSecurityContextArgs
    """Of its pod: what makes mounted Secrets readable for buildkitd, and for nobody else."""
    host_users: bool | None
    """`False` gives the pod a user namespace; `None` leaves the field out."""
    pod_security: str
    """The strictest level of the Pod Security Standards that lets the pod in: `privileged`,
    `baseline` or `restricted`
    (https://kubernetes.io/docs/concepts/security/pod-security-standards/)."""


_ROOTLESS = Variant(
    image=f"{_IMAGE}-rootless",
    buildkitd="buildkitd",
    # Without a process sandbox no /proc has to be mounted, which a pod may not.
    buildkitd_args=("--oci-worker-no-process-sandbox",),
    socket="unix:///run/user/1000/buildkit/buildkitd.sock",
    data_directory="/home/user/.local/share/buildkit",
    # For temporary files: its own, and those of buildctl-daemonless.sh; and for its sockets.
    writable=("/home/user/.local/tmp", "/tmp", "/run/user/1000"),
    group=1000,
    cache="rootless-cache",
    security_context=k8s.core.v1.SecurityContextArgs(
        # What newuidmap and newgidmap need to map its users. In a user namespace of its own it has
        # all of them, whatever it was given here.
        capabilities=k8s.core.v1.CapabilitiesArgs(drop=["ALL"], add=["SETUID", "SETGID"]),
        read_only_root_filesystem=True,
        seccomp_profile=k8s.core.v1.SeccompProfileArgs(type="Unconfined"),
        app_armor_profile=k8s.core.v1.AppArmorProfileArgs(type="Unconfined"),
        run_as_user=1000,
        run_as_group=1000,
    ),
    pod_security_context=k8s.core.v1.PodSecurityContextArgs(
        fs_group=1000, fs_group_change_policy="OnRootMismatch"
    ),
    host_users=None,
    # `baseline` forbids both profiles to be unconfined.
    pod_security="privileged",
)
_PRIVILEGED = Variant(
    image=_IMAGE,
    # Kubernetes shows a privileged container the node's cgroups, and there buildkitd would put its
    # steps, and itself, beyond the pod's limits.
    buildkitd="buildkitd-entrypoint",
    buildkitd_args=(),
    socket="unix:///run/buildkit/buildkitd.sock",
    data_directory="/var/lib/buildkit",
    # With every capability it could make a read-only root writable again.
    writable=(),
    group=0,
    cache="root-cache",
    security_context=k8s.core.v1.SecurityContextArgs(privileged=True),
    pod_security_context=k8s.core.v1.PodSecurityContextArgs(),
    host_users=None,
    # `baseline` forbids privileged containers, in a user namespace too.
    pod_security="privileged",
)

VARIANTS = {
    Security.ROOTLESS: _ROOTLESS,
    Security.PRIVILEGED: _PRIVILEGED,
    # Privileged towards its own user namespace only.
    Security.USERNS: replace(_PRIVILEGED, host_users=False),
}


def default_image(security: Security) -> str:
    """The official image of BuildKit for this *security* variant."""
    return VARIANTS[security].image
