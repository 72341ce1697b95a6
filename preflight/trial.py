"""Runs pods in a namespace of their own, and reads what they said."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from pulumi_buildkit._pod import CONTAINER

from preflight import PreflightError
from preflight.pods import CONFINED, Pod

POLL = 0.5
# What a container waits for in vain; of a pull that failed the kubelet tries a second one first.
_HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
# How often the kubelet may fail to make a pod's sandbox: once may be an accident.
_SANDBOXES = 3


@dataclass(frozen=True)
class Outcome:
    """How one pod ended."""

    runs: bool
    reason: str = ""
    """Why it did not, and what to do."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it saw of its node."""


class Trial:
    """The pods of one preflight."""

    def __init__(self, api: client.ApiClient, patience: float) -> None:
        self._core: Any = client.CoreV1Api(api)
        self._patience = patience
        self._namespace = ""

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A new one, which goes with all that is in it.

        Raises:
            PreflightError: there may be none.
        """
        metadata = {
            "generateName": "buildkit-preflight-",
            "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
        }
        try:
            made = self._core.create_namespace({"metadata": metadata})
        except ApiException as error:
            raise PreflightError(
                f"no namespace can be made for the trial ({_message(error)}); have somebody run "
                "it who may make namespaces"
            ) from None
        self._namespace = made.metadata.name
        try:
            self._wait_for_account()
            yield self._namespace
        finally:
            self._core.delete_namespace(self._namespace)

    def run(self, pods: Mapping[str, Pod]) -> dict[str, Outcome]:
        """How each of *pods*, by their names, ended."""
        outcomes = {name: refused for name, pod in pods.items() if (refused := self._make(pod))}
        deadline = time.monotonic() + self._patience
        while len(outcomes) < len(pods):
            is_over = time.monotonic() > deadline
            for found in self._core.list_namespaced_pod(self._namespace).items:
                name = found.metadata.name
                if name not in outcomes and (outcome := self._outcome(found, is_over)):
                    outcomes[name] = outcome
            time.sleep(POLL)
        return outcomes

    def _wait_for_account(self) -> None:
        """Until the namespace has the account that every pod needs, even without its token."""
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            with suppress(ApiException):
                self._core.read_namespaced_service_account("default", self._namespace)
                return
            time.sleep(POLL)

    def _make(self, pod: Pod) -> Outcome | None:
        try:
            self._core.create_namespaced_pod(self._namespace, pod)
        except ApiException as error:
            return Outcome(False, f"the cluster refuses its pod: {_message(error)}")
        return None

    def _outcome(self, pod: Any, is_over: bool) -> Outcome | None:
        """That of a *pod* which has ended, or will not begin."""
        if pod.status.phase in ("Succeeded", "Failed"):
            return self._ended(pod)
        if reason := self._hopeless(pod):
            return Outcome(False, reason)
        if is_over:
            why = self._last_warning(pod) or f"it is {pod.status.phase}"
            return Outcome(False, f"its pod has not ended after {self._patience:.0f} s: {why}")
        return None

    def _ended(self, pod: Any) -> Outcome:
        with suppress(ApiException):
            lines = self._log(pod, CONTAINER)
            facts = dict(line.split("=", 1) for line in lines if re.match(r"[\w.]+=", line))
            confined = {CONFINED: " ".join(self._log(pod, CONFINED))} if _has_confined(pod) else {}
            last = lines[-1] if lines else pod.status.message or "its pod said nothing"
            runs = pod.status.phase == "Succeeded"
            return Outcome(runs, "" if runs else _without_subject(last), {**facts, **confined})
        return Outcome(False, pod.status.message or pod.status.reason or "its pod left no log")

    def _log(self, pod: Any, container: str) -> list[str]:
        # As it is: the client would take it for a value of Python's.
        answer = self._core.read_namespaced_pod_log(
            pod.metadata.name, self._namespace, container=container, _preload_content=False
        )
        return [line for line in answer.data.decode().splitlines() if line.strip()]

    def _hopeless(self, pod: Any) -> str:
        for status in pod.status.container_statuses or ():
            waiting = status.state.waiting
            if waiting and waiting.reason in _HOPELESS:
                return f"{waiting.reason}: {waiting.message}"
        sandboxes = [e for e in self._warnings(pod) if e.reason == "FailedCreatePodSandBox"]
        if sum(event.count or 1 for event in sandboxes) >= _SANDBOXES:
            return str(sandboxes[-1].message)
        return ""

    def _last_warning(self, pod: Any) -> str:
        return next((str(event.message) for event in reversed(self._warnings(pod))), "")

    def _warnings(self, pod: Any) -> list[Any]:
        selector = f"involvedObject.uid={pod.metadata.uid},type=Warning"
        return self._core.list_namespaced_event(self._namespace, field_selector=selector).items


def _has_confined(pod: Any) -> bool:
    return any(container.name == CONFINED for container in pod.spec.containers)


def _without_subject(line: str) -> str:
    """What the probe says, without what the table around it says already."""
    return re.sub(r"^\w+ can't run here: ", "", line)


def _message(error: ApiException) -> str:
    found = re.search(r'"message":"((?:[^"\\]|\\.)*)"', str(error.body))
    return found[1].replace('\\"', '"') if found else f"{error.status} {error.reason}"
