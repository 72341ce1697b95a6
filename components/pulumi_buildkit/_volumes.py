"""Secrets and ConfigMaps as volumes of a pod."""

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit.secret_layout import FILES, LAYOUTS, SecretLayout


def config(name: str, config_map: pulumi.Input[str]) -> k8s.core.v1.VolumeArgs:
    """A ConfigMap as files."""
    return k8s.core.v1.VolumeArgs(
        name=name, config_map=k8s.core.v1.ConfigMapVolumeSourceArgs(name=config_map)
    )


def certificates(
    name: str, secret: pulumi.Input[str], layout: SecretLayout
) -> k8s.core.v1.VolumeArgs:
    """A Secret as `FILES` that the pod's group may read; goes with `required_certificates`."""
    return k8s.core.v1.VolumeArgs(
        name=name,
        secret=k8s.core.v1.SecretVolumeSourceArgs(
            secret_name=secret,
            default_mode=0o440,
            optional=True,
            items=[
                k8s.core.v1.KeyToPathArgs(key=key, path=file)
                for key, file in zip(LAYOUTS[layout].keys, FILES, strict=True)
            ],
        ),
    )


def required_certificates(
    name: str, secret: pulumi.Input[str], layout: SecretLayout
) -> k8s.core.v1.EnvVarArgs:
    """A variable, without whose Secret the container does not start.

    Of a volume whose Secret is missing Kubernetes says `ContainerCreating` for ever, and an update
    that waits for the pod can say no more. Of a variable it says which Secret, or which key in it.
    So the volume is optional, and the variable, the CA's public certificate, is not.
    """
    return k8s.core.v1.EnvVarArgs(
        name=f"{name.upper()}_CA",
        value_from=k8s.core.v1.EnvVarSourceArgs(
            secret_key_ref=k8s.core.v1.SecretKeySelectorArgs(
                name=secret, key=LAYOUTS[layout].keys.ca
            )
        ),
    )


def mount(name: str, path: str) -> k8s.core.v1.VolumeMountArgs:
    """A volume's files at *path*, which the container can't change."""
    return k8s.core.v1.VolumeMountArgs(name=name, mount_path=path, read_only=True)
