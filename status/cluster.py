"""What the cluster says of a stack's pods."""

import re
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, Self

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from kubernetes.stream import stream
from pulumi_buildkit._envoy import METRICS_PATH, METRICS_PORT
from pulumi_buildkit._pod import CONTAINER, UNTRACED
from urllib3.exceptions import HTTPError

from status import StatusError

_PATIENCE = 10  # seconds for one answer
_OURS = "app.kubernetes.io/part-of=buildkit"
_COMPONENT = "app.kubernetes.io/name"


class Pod(NamedTuple):
    """One that runs, or is to."""

    name: str
    component: str
    """What it is of, as `labels` calls it: buildkitd, gateway, …"""
    state: str
    image: str
    began: datetime
    restarts: int
    last_end: str
    """Why its container ended last, where it did."""


class Cache(NamedTuple):
    """What a buildkitd keeps."""

    pod: str
    cached: str
    """As `buildctl du` says it."""
    disk: int
    """KiB of the file system that it is on."""
    used: int
    """KiB that are used there, by whatever it is."""


class Cluster:
    """A namespace of the cluster that a kubeconfig leads to.

    Raises:
        StatusError: it can't be reached, or does not say.
    """

    def __init__(self, kubeconfig: str | None, namespace: str) -> None:
        try:
            self._api = config.new_client_from_config(kubeconfig)
        except ConfigException as error:
            raise StatusError(f"there is no way to the cluster ({error}); set KUBECONFIG") from None
        self._core = client.CoreV1Api(self._api)
        self._namespace = namespace

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.rest_client.pool_manager.clear()

    def pods(self) -> list[Pod]:
        """All that are not done."""
        found = self._answer("list_namespaced_pod", label_selector=_OURS).items
        there = (each for each in found if each.status.phase != "Succeeded")
        return [_pod(each) for each in sorted(there, key=lambda pod: pod.metadata.name)]

    def log(self, pod: str) -> str:
        """What its container has written."""
        return self._text("read_namespaced_pod_log", name=pod)

    def metrics(self, pod: str) -> str | None:
        """What Prometheus would read of it; nothing where it does not answer."""
        ask = "connect_get_namespaced_pod_proxy_with_path"
        path = METRICS_PATH.removeprefix("/")
        with suppress(StatusError):
            return self._text(ask, name=f"{pod}:{METRICS_PORT}", path=path)
        return None

    def cache(self, pod: str) -> Cache | None:
        """What a buildkitd keeps; nothing where it does not say."""
        spec = self._answer("read_namespaced_pod", name=pod).spec
        (container,) = (each for each in spec.containers if each.name == CONTAINER)
        socket = container.args[container.args.index("--addr") + 1]
        directory = container.volume_mounts[-1].mount_path
        asked = " ".join([*UNTRACED, "buildctl", "--addr", socket, "du"])
        script = f"{asked} | grep ^Total; df -kP {directory} | tail -1"
        running = stream(
            self._core.connect_get_namespaced_pod_exec,
            name=pod,
            namespace=self._namespace,
            container=CONTAINER,
            command=["sh", "-c", script],
            stderr=False,
            stdout=True,
            _preload_content=False,
        )
        running.run_forever(timeout=_PATIENCE)
        said = running.read_stdout()
        # `close` leaves the socket open where the other side has said good-bye.
        running.sock.shutdown()
        found = re.fullmatch(r"Total:\s+(\S+)\n\S+\s+(\d+)\s+(\d+)\s.*\n?", said, re.DOTALL)
        return Cache(pod, found[1], int(found[2]), int(found[3])) if found else None

    def _text(self, question: str, **given: Any) -> str:
        # What is no JSON the client gives back as Python would write it.
        response = self._answer(question, _preload_content=False, **given)
        try:
            return response.data.decode()
        finally:
            response.release_conn()

    def _answer(self, question: str, **given: Any) -> Any:
        try:
            asked = getattr(self._core, question)
            return asked(namespace=self._namespace, _request_timeout=_PATIENCE, **given)
        except ApiException as error:
            reason = f"{error.status} {error.reason}"
            raise StatusError(f"the cluster does not answer {question}: {reason}") from None
        except (HTTPError, OSError) as error:
            raise StatusError(f"the cluster can't be reached ({error})") from None


def _pod(found: Any) -> Pod:
    statuses = found.status.container_statuses or []
    ended = [each.last_state.terminated.reason for each in statuses if each.last_state.terminated]
    return Pod(
        found.metadata.name,
        found.metadata.labels.get(_COMPONENT, ""),
        _state(found, statuses),
        found.spec.containers[0].image,
        found.metadata.creation_timestamp,
        sum(each.restart_count for each in statuses),
        ", ".join(ended),
    )


def _state(found: Any, statuses: list[Any]) -> str:
    if found.metadata.deletion_timestamp:
        return "drains"
    waiting = [each.state.waiting.reason for each in statuses if each.state.waiting]
    ready = bool(statuses) and all(each.ready for each in statuses)
    return "ready" if ready else ", ".join(waiting) or found.status.reason or found.status.phase
