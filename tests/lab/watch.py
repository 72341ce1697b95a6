"""What became of pods, as `kubectl get --watch` shows it."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.lab.conftest import Installation

_STATUS = "{.object.status.containerStatuses[0]"
_LINE = "|".join(
    (
        "{.type}",
        "{.object.metadata.uid}",
        "{.object.metadata.name}",
        "{.object.status.podIP}",
        "{.object.metadata.deletionTimestamp}",
        f"{_STATUS}.started}}",
        f"{_STATUS}.restartCount}}",
    )
)


@dataclass
class Pod:
    """One pod, with its times on the monotonic clock; `None` is what has not come."""

    name: str
    address: str = ""
    draining: float | None = None
    """When it was told to end."""
    gone: float | None = None
    alive: bool = False
    """Whether its first container has started and not ended."""
    restarts: int = 0


@dataclass
class Pods:
    """Those that have been there since the watch began, by their UIDs."""

    seen: dict[str, Pod] = field(default_factory=dict)
    most_alive: int = 0
    """How many were alive at the same time, at most."""
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, line: str) -> None:
        """Note one line of the watch."""
        event, uid, name, address, deleted, started, restarts = line.rstrip("\n").split("|")
        with self._changed:
            if deleted and uid not in self.seen:
                return  # it was told to end before the watch began
            pod = self.seen.setdefault(uid, Pod(name))
            pod.address = address or pod.address
            pod.restarts = int(restarts or 0)
            pod.alive = started == "true" and event != "DELETED"
            if deleted and pod.draining is None:
                pod.draining = time.monotonic()
            if event == "DELETED":
                pod.gone = time.monotonic()
            alive = sum(pod.alive for pod in self.seen.values())
            self.most_alive = max(self.most_alive, alive)
            self._changed.notify_all()

    def wait_until_one_drains(self, timeout: float = 30) -> Pod:
        """Wait for a pod that has been told to end, and has not ended."""

        def draining() -> Pod | None:
            pods = self.seen.values()
            return next((pod for pod in pods if pod.draining and not pod.gone), None)

        with self._changed:
            pod = self._changed.wait_for(draining, timeout)
            assert isinstance(pod, Pod), f"no pod drains: {self.seen}"
            return pod

    def at(self, address: str, moment: float) -> Pod:
        """The pod that had an address at some moment: the last one of it that was not yet gone."""
        pods = [pod for pod in self.seen.values() if pod.address == address]
        return next(pod for pod in pods if pod.gone is None or pod.gone >= moment)


@contextmanager
def watched(installation: Installation, selector: str) -> Iterator[Pods]:
    """The pods of a *selector*, those that are there and those that come while this lasts."""
    pods = Pods()
    watch = subprocess.Popen(
        [
            *("kubectl", "--namespace", installation.outputs["namespace"], "get", "pods"),
            *("--selector", selector, "--watch", "--output-watch-events"),
            f'--output=jsonpath={_LINE}{{"\\n"}}',
        ],
        env=installation.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout
    with watch.stdout as lines:
        reader = threading.Thread(target=lambda: [*map(pods.take, lines)])
        reader.start()
        try:
            yield pods
            assert watch.poll() is None, "the watch has ended before its time"
        finally:
            watch.terminate()
            reader.join()
            watch.wait()
