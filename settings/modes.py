"""How buildkitd runs, and what goes with it: the one table of what may be combined."""

from dataclasses import dataclass
from enum import Enum

from pulumi_buildkit.volume import VolumeKind


class Mode(str, Enum):
    """How buildkitd runs."""

    POD = "pod"
    """A Pod, reached as `kube-pod://buildkitd`: quick to try."""
    DEPLOYMENT = "deployment"
    """A Deployment with a Service: any number of pods, each build at one of them."""
    STATEFULSET = "statefulset"
    """A StatefulSet, whose pods keep a name and a cache each: the client chooses one."""
    JOB = "job"
    """A Job that builds once what `buildkit:job` says, and no daemon."""


@dataclass(frozen=True)
class Traits:
    """What goes with one mode."""

    gateway: bool | None
    """Whether it has a gateway unless told otherwise; `None` where it can't have one."""
    listens: bool
    """Whether buildkitd listens for clients by itself when it has no gateway."""
    replicas: bool
    """Whether there may be several pods."""
    volumes: tuple[VolumeKind, ...]
    """What may hold the cache, the default first; nothing where no cache outlives a build."""
    surges: bool = False
    """Whether a new pod is ready before the old one stops, if they share no volume."""
    shared_claim: bool = False
    """Whether all pods would have the same claim, so that one pod only can have it."""
    builds: bool = False
    """Whether it runs one build, which the section `job` describes, instead of a daemon."""
    autoscaling: bool = False
    """Whether the number of pods can follow the builds."""


MODES = {
    Mode.POD: Traits(
        gateway=False,
        listens=False,
        replicas=False,
        volumes=(VolumeKind.EMPTY_DIR, VolumeKind.CLAIM),
    ),
    Mode.DEPLOYMENT: Traits(
        gateway=True,
        listens=True,
        replicas=True,
        volumes=(VolumeKind.EMPTY_DIR, VolumeKind.CLAIM),
        surges=True,
        shared_claim=True,
        autoscaling=True,
    ),
    Mode.STATEFULSET: Traits(
        gateway=True,
        listens=False,
        replicas=True,
        volumes=(VolumeKind.CLAIM, VolumeKind.EMPTY_DIR),
        autoscaling=True,
    ),
    Mode.JOB: Traits(
        gateway=None,
        listens=False,
        replicas=False,
        volumes=(),
        builds=True,
    ),
}
