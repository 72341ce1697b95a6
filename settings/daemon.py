"""The keys of buildkitd: what it reaches, keeps and uses."""

from pulumi_buildkit.daemon import DRAIN_TIMEOUT
from pulumi_buildkit.volume import VolumeKind

from settings.quantities import DiskSpace, Quantity, Size
from settings.section import Section
from settings.values import Certificate, Mirror, ObjectName, ResourceName, Seconds


class RegistrySettings(Section):
    """How buildkitd reaches one registry."""

    mirrors: list[Mirror] = []
    """Registries to ask first for what this one holds, each `host[:port][/path]`."""
    http: bool = False
    """Talk plain HTTP to it."""
    insecure: bool = False
    """Accept any TLS certificate of it."""
    ca: Certificate | None = None
    """PEM of the CAs that may have signed its certificate. Default: those of buildkitd's image."""


class GarbageCollectionSettings(Section):
    """When buildkitd gives up cached data.

    Each size is a Kubernetes quantity, as `50Gi`, or as BuildKit takes it: `250GB` (its units are
    powers of 1024), bytes, or a percentage of the file system that has the cache, as `80%`. `0`: no
    such limit.
    """

    reserved_space: DiskSpace | None = None
    """Below this size nothing is given up. Default: a tenth of the volume's size; without
    one buildkitd decides."""
    max_used_space: DiskSpace | None = None
    """The cache is kept below this size. Default: eight tenths of the volume's size; without
    one buildkitd decides."""
    min_free_space: DiskSpace | None = None
    """This much is kept free on the disk. Default: a tenth of a claim's size; for an emptyDir
    with a size a fifth of the node's disk, `20%`; without one buildkitd decides."""


class ResourceSettings(Section):
    """What a container asks of its node, cpu, memory and others, by name."""

    requests: dict[ResourceName, Quantity] = {}
    """What is set aside for it. Default: its limits."""
    limits: dict[ResourceName, Quantity] = {}
    """What it can't exceed. Default: none."""


class DrainSettings(Section):
    """How a pod that is to go, of buildkitd or of the gateway, lets its builds end."""

    timeout: Seconds = DRAIN_TIMEOUT
    """How long it waits for them, in seconds; what still runs then is cut."""


class VolumeSettings(Section):
    """Where each buildkitd pod keeps its cache."""

    kind: VolumeKind | None = None
    """What holds the cache. Default: `claim` with `mode: statefulset`, else `emptyDir`."""
    size: Size | None = None
    """What a claim asks for; the limit of an emptyDir, which is requested of the node as
    `ephemeral-storage`, too. A claim can grow, and never shrink.
    Default: `50Gi` for a claim, no limit for an emptyDir."""
    storage_class: ObjectName | None = None
    """Storage class of new claims: a claim keeps the class that it was made with. Default: the
    cluster's own."""
    protect: bool = True
    """Refuse an update that would delete a claim. To let one go, set false, run `pulumi up`, and
    then make the change that deletes it."""
