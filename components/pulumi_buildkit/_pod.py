"""The pod that runs buildkitd, in every security variant."""

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _volumes
from pulumi_buildkit._metadata import labels
from pulumi_buildkit.security import Variant

PORT = 1234
"""buildkitd's TCP port, in upstream's manifests too."""

_CERTIFICATES = "/certs"
_CONFIG = "/etc/buildkit"


def pod_template(
    name: str,
    variant: Variant,
    image: pulumi.Input[str],
    certificates: pulumi.Input[str],
    config_map: pulumi.Input[str],
) -> k8s.core.v1.PodTemplateSpecArgs:
    """Buildkitd on TCP with mTLS from the Secret *certificates*, configured by *config_map*."""
    return k8s.core.v1.PodTemplateSpecArgs(
        metadata=k8s.meta.v1.ObjectMetaArgs(labels=labels(name, "buildkitd")),
        spec=k8s.core.v1.PodSpecArgs(
            automount_service_account_token=False,
            host_users=variant.host_users,
            security_context=variant.pod_security_context,
            containers=[_container(variant, image, certificates)],
            volumes=[
                _volumes.certificates("certs", certificates),
                _volumes.config("config", config_map),
                k8s.core.v1.VolumeArgs(
                    name="buildkitd", empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs()
                ),
            ],
        ),
    )


def _container(
    variant: Variant, image: pulumi.Input[str], certificates: pulumi.Input[str]
) -> k8s.core.v1.ContainerArgs:
    return k8s.core.v1.ContainerArgs(
        name="buildkitd",
        image=image,
        args=[
            *("--config", f"{_CONFIG}/buildkitd.toml"),
            *("--addr", variant.socket),
            *("--addr", f"tcp://0.0.0.0:{PORT}"),
            *("--tlscacert", f"{_CERTIFICATES}/ca.pem"),
            *("--tlscert", f"{_CERTIFICATES}/cert.pem"),
            *("--tlskey", f"{_CERTIFICATES}/key.pem"),
            *variant.buildkitd_args,
        ],
        env=[_volumes.required_certificates("certs", certificates)],
        ports=[k8s.core.v1.ContainerPortArgs(name="buildkitd", container_port=PORT)],
        security_context=variant.security_context,
        # What it said last is the reason that an update gives for a pod that does not start.
        termination_message_policy="FallbackToLogsOnError",
        # Polls fast while buildkitd starts, so that waiting builds go on at once.
        startup_probe=_probe(variant, period=1, timeout=10, failures=120),
        readiness_probe=_probe(variant, period=10, timeout=10, failures=3),
        # Restarts a daemon that hangs, not one that a loaded node held up for a minute.
        liveness_probe=_probe(variant, period=30, timeout=30, failures=4),
        volume_mounts=[
            _volumes.mount("certs", _CERTIFICATES),
            _volumes.mount("config", _CONFIG),
            k8s.core.v1.VolumeMountArgs(name="buildkitd", mount_path=variant.data_directory),
        ],
    )


def _probe(variant: Variant, period: int, timeout: int, failures: int) -> k8s.core.v1.ProbeArgs:
    return k8s.core.v1.ProbeArgs(
        exec_=k8s.core.v1.ExecActionArgs(
            command=["buildctl", "--addr", variant.socket, "debug", "workers"]
        ),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
    )
