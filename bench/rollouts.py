"""Builds lost while BuildKit is rolled under a load that never pauses."""

import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.builds import Ways
from bench.installations import Installation, wait_until_ready
from bench.workshop import LONGEST, Workshop, buildctl, buildx, last_line, waiting
from lab import LabError, progress

STEPS = (1, 6, 20, 90)
"""Each client builds one step of so many seconds after the other. A pod has 30 to end, unless its
manifest says otherwise."""
_PATIENCE = 900.0  # seconds until each client has ended another build


class Load:
    """Clients that build without a pause, and what became of their builds."""

    def __init__(self, of: Workshop, way: Installation) -> None:
        self._workshop = of
        self._way = way
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._ended = Counter[int]()
        self.reasons = Counter[str]()
        """The last line of each build that was lost."""

    @property
    def builds(self) -> int:
        """How many have ended, well or not."""
        return self._ended.total()

    def build_on(self, client: int) -> None:
        """Build until it is stopped."""
        while not self._stopped.is_set():
            started = time.monotonic()
            reason = self._build(self._command(client))
            with self._changed:
                self._ended[client] += 1
                if reason:
                    self.reasons[reason] += 1
                self._changed.notify_all()
            # One that fails at once is not tried again before its time: it would count many times.
            self._stopped.wait(STEPS[client] - (time.monotonic() - started))

    def wait_until_each_has_built(self) -> None:
        """Wait until each client has ended a build from now on."""
        before = self._ended.copy()
        clients = range(len(STEPS))
        with self._changed:
            if not self._changed.wait_for(
                lambda: all(self._ended[client] > before[client] for client in clients), _PATIENCE
            ):
                raise LabError(f"{self._way.namespace}: a client has built nothing for 15 minutes")

    def stop(self) -> None:
        """Have each client end with the build that it is at."""
        self._stopped.set()

    def _build(self, command: list[str]) -> str:
        """Why the build was lost; nothing where it was not."""
        try:
            done = self._workshop.run(*command)
        except subprocess.TimeoutExpired:
            return f"no end within {LONGEST:.0f} s"
        return last_line(done) or "no words" if done.returncode else ""

    def _command(self, client: int) -> list[str]:
        build = waiting(self._workshop, STEPS[client])
        if self._way.connection and client % 2:
            return buildctl(self._way.connection, build)
        return buildx(self._way.builder, build)


def measure(of: Workshop, ways: Ways, rollouts: int) -> dict[str, dict[str, Any]]:
    """Roll each of *ways* so often; all of them at once, since most of it is waiting."""
    with progress.step(f"{rollouts} rollouts under load"), ThreadPoolExecutor() as pool:
        rolled = {name: pool.submit(_rolled, of, way, rollouts) for name, way in ways.items()}
        return {name: future.result() for name, future in rolled.items()}


def _rolled(of: Workshop, way: Installation, rollouts: int) -> dict[str, Any]:
    load = Load(of, way)
    with ThreadPoolExecutor(len(STEPS)) as pool:
        clients = [pool.submit(load.build_on, client) for client in range(len(STEPS))]
        try:
            load.wait_until_each_has_built()
            for _ in range(rollouts):
                of.kubectl(way.namespace, "rollout", "restart", f"deployment/{way.deployment}")
                wait_until_ready(of, way.namespace, way.deployment)
                load.wait_until_each_has_built()
        finally:
            load.stop()
    for client in clients:
        client.result()
    return {
        "rollouts": rollouts,
        "builds": load.builds,
        "lost": load.reasons.total(),
        "reasons": dict(load.reasons.most_common()),
    }
