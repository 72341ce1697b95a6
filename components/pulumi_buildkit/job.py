"""A build as a Job, with a buildkitd of its own."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as k8s

from pulumi_buildkit import _buildctl, _pod
from pulumi_buildkit._options import reaching_children
from pulumi_buildkit._rollout import awaited, rolling_config
from pulumi_buildkit._workload import Workload
from pulumi_buildkit.build import BuildArgs
from pulumi_buildkit.daemon import DaemonArgs
from pulumi_buildkit.volume import VolumeKind

DEADLINE = 3600
"""Seconds: an hour is long for a build that starts without a cache."""

# Seconds that Kubernetes has to stop a Job past its deadline; a pod alone is given 30.
_STOPPING = 120


class BuildkitJobArgs(TypedDict):
    """Arguments of `BuildkitJob`."""

    namespace: pulumi.Input[str]
    """Namespace of everything in it."""
    build: BuildArgs
    """What is built, and where it goes."""
    daemon: NotRequired[DaemonArgs]
    """How buildkitd runs. Default: rootless."""
    backoff_limit: NotRequired[int]
    """How many times a failed build is tried again. Default: 0."""
    deadline: NotRequired[int]
    """How long it may take, in seconds, with every attempt and the wait for a node. Default:
    3600."""
    ttl: NotRequired[int]
    """How long the Job stays when it has ended, in seconds. One that is gone is missed by the next
    `pulumi refresh`, and runs again in the update after that. Default: until it is replaced."""


class BuildkitJob(pulumi.ComponentResource):
    """A build without a daemon that stays, from upstream's `job.*.yaml`; an update waits for it.

    It runs again when its pod has changed, or when it failed. What it said last is the update's
    error.
    """

    workload: pulumi.Output[str]
    """What kubectl calls it, `job/NAME`."""

    def __init__(
        self, name: str, args: BuildkitJobArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the ConfigMaps of buildkitd and of the files, and the Job.

        Raises:
            ValueError: there is not exactly one context, or a file's path leads out of it.
        """
        super().__init__("buildkit:index:BuildkitJob", name, {}, reaching_children(opts))
        if problems := _buildctl.problems(args["build"]):
            raise ValueError("\n".join(f"{name}: build: {problem}" for problem in problems))
        self._args = args
        self._deadline = int(args.get("deadline", DEADLINE))
        self._workload = Workload.of(
            self,
            name,
            {
                "namespace": args["namespace"],
                "daemon": args.get("daemon", {}),
                "update_timeout": self._deadline + _STOPPING,
            },
            VolumeKind.EMPTY_DIR,
        )
        self.workload = pulumi.Output.concat("job/", self._job().metadata.name)
        self.register_outputs({"workload": self.workload})

    def _job(self) -> k8s.batch.v1.Job:
        ttl = self._args.get("ttl")
        return k8s.batch.v1.Job(
            self._workload.name,
            # Auto-named: a Job can't change, and the next one has ended before this one goes. One
            # that failed runs again in the next update, though nothing in it has changed.
            metadata=self._workload.metadata(None, {"pulumi.com/replaceUnready": "true"}),
            spec=k8s.batch.v1.JobSpecArgs(
                active_deadline_seconds=self._deadline,
                backoff_limit=int(self._args.get("backoff_limit", 0)),
                ttl_seconds_after_finished=None if ttl is None else int(ttl),
                pod_failure_policy=_EVICTED_IS_NOT_FAILED,
                template=self._template(),
            ),
            opts=awaited(self, self._workload.update_timeout),
        )

    def _template(self) -> k8s.core.v1.PodTemplateSpecArgs:
        workload = self._workload
        buildkitd = workload.buildkitd()
        files = _buildctl.volumes(self._args["build"], self._files())
        container = _pod.daemonless(
            buildkitd,
            workload.cache,
            _buildctl.arguments(self._args["build"]),
            workload.daemon.get("resources", {}),
            environment={"DOCKER_CONFIG": _buildctl.CREDENTIALS},
            mounts=[mount for mounted in files for mount in mounted.mounts],
        )
        return _pod.template(
            # No Service of the same name shall find it.
            _pod.labelled(f"{workload.name}-build", "build"),
            workload.daemon,
            [container],
            [
                *_pod.files(buildkitd),
                *(mounted.volume for mounted in files),
                *workload.empty_dirs(),
            ],
            restart_policy="Never",
        )

    def _files(self) -> pulumi.Input[str]:
        data = _buildctl.files(self._args["build"])
        if not data:
            return ""
        name = f"{self._workload.name}-files"
        return rolling_config(self, name, self._workload.metadata(None), data)


# A drained node, or a more important pod, is no fault of the build: it starts anew elsewhere.
_EVICTED_IS_NOT_FAILED = k8s.batch.v1.PodFailurePolicyArgs(
    rules=[
        k8s.batch.v1.PodFailurePolicyRuleArgs(
            action="Ignore",
            on_pod_conditions=[
                k8s.batch.v1.PodFailurePolicyOnPodConditionsPatternArgs(
                    type="DisruptionTarget", status="True"
                )
            ],
        )
    ]
)
