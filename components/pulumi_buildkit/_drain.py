"""How a pod goes without ending a build: a hook waits for the builds, as long as it may.

https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

import pulumi_kubernetes as k8s

from pulumi_buildkit import _script

UNDISTURBED = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Annotations of a pod that cluster autoscalers let be: they would give it ten minutes to go."""

READY_PORT = 1235
"""Open as long as a buildkitd takes new builds: the kubelet asks there.

Kubernetes goes on sending clients to a pod that is to go while there is no other that is ready,
unless its probe says that it is not. No command can say so: some kubelets of 1.35 and 1.36 run none
in such a pod (https://github.com/kubernetes/kubernetes/issues/140881).
"""

KILL_GRACE = 10
"""Seconds from a failed liveness or startup probe to the kill. By default a probe has the pod's
grace period, which is longer than any build."""

_LISTENER = "/dev/shm/ready"
_COMMON = "drain.sh"
_STOPPING = 30
"""Seconds from the hook's end to the kill: Kubernetes' own default for a whole pod."""


def grace_period(timeout: int) -> int:
    """Seconds that Kubernetes gives a pod whose hook ends after *timeout* seconds at the latest."""
    return timeout + _STOPPING


def buildkitd(socket: str, timeout: int) -> k8s.core.v1.LifecycleArgs:
    """Hooks of a buildkitd that listens at *socket*: `READY_PORT` is open until it is to go."""
    return k8s.core.v1.LifecycleArgs(
        post_start=_run(_ready()),
        pre_stop=_run(
            _script.command("sh", (_COMMON, "drain_buildkitd.sh"), socket, _LISTENER, timeout)
        ),
    )


def liveness(socket: str) -> list[str]:
    """The command that asks the buildkitd at *socket*, and keeps `READY_PORT` open."""
    return _ready(socket)


def _ready(*socket: str) -> list[str]:
    return _script.command("sh", ("ready.sh",), READY_PORT, _LISTENER, *socket)


def gateway(admin_port: int, active: str, total: str, timeout: int) -> k8s.core.v1.LifecycleArgs:
    """Hooks of an Envoy whose statistics say what is *active* and what there was in *total*."""
    return k8s.core.v1.LifecycleArgs(
        pre_stop=_run(
            _script.command(
                "bash", (_COMMON, "drain_gateway.sh"), admin_port, active, total, timeout
            )
        )
    )


def script(name: str) -> str:
    """The text of one of this package's two scripts, with what they have in common."""
    return _script.text(_COMMON, name)


def _run(command: list[str]) -> k8s.core.v1.LifecycleHandlerArgs:
    return k8s.core.v1.LifecycleHandlerArgs(exec_=k8s.core.v1.ExecActionArgs(command=[*command]))
