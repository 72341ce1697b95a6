"""The one-node Kubernetes: from nothing, or from any half-dead state, to Ready and back.

Everything that the node is lives in four places: a network namespace, a mount namespace, a cgroup
and the state directory. `stop` kills the cgroup and removes the four, and puts back the one limit
of the machine that was lifted. Nothing is ended gently, since nothing that it could save is kept.
"""

import shutil
import socket
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from lab import LabError, cgroup, daemons, files, limits, mounts, network, pki, progress
from lab.network import ADDRESS, API, DNS, NAME, REGISTRY
from lab.paths import STATE

__all__ = ["ADDRESS", "API", "DEBIAN_PACKAGES", "DNS", "NAME", "REGISTRY", "Node"]

DEBIAN_PACKAGES = (
    *("conntrack", "containernetworking-plugins", "iproute2", "iptables", "libseccomp2"),
    *("mount", "util-linux"),
)
START_TIMEOUT = 60.0  # seconds for one process to become healthy; 8 are usual on 2 cores
IMPORTS_AT_ONCE = 2

UNVERIFIED = ssl.create_default_context()
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


class Node:
    """The node of this machine. There is one, whoever asks; its state is on disk."""

    def __init__(self, tools: Path, images: Mapping[str, Path], state: Path = STATE) -> None:
        """Take the directory of the binaries, and the tar file of each image by its name."""
        self.at = daemons.Layout(tools, state)
        self.images = images
        self.kubeconfig = self.at.administrator

    @property
    def processes(self) -> dict[str, int]:
        """The process id of each daemon that runs, by its name."""
        pids = {name: cgroup.leader(name) for name in daemons.DAEMONS}
        return {name: pid for name, pid in pids.items() if pid}

    def is_running(self) -> bool:
        """Whether every process of the node runs."""
        return len(self.processes) == len(daemons.DAEMONS)

    def start(self) -> None:
        """Start what doesn't run, wait until all of it is healthy, and import the images."""
        pool = ThreadPoolExecutor(IMPORTS_AT_ONCE)
        try:
            with progress.step("one-node Kubernetes") as step:
                self._start(step, pool)
        finally:
            pool.shutdown(cancel_futures=True)  # who interrupts it doesn't wait for the images

    def _start(self, step: progress.Step, pool: ThreadPoolExecutor) -> None:
        self._prepare()
        imports: list[Future[None]] = []
        for name in daemons.DAEMONS:
            step.update(name)
            self._launch(name)
            if name in daemons.NEEDED_BY_THE_NEXT:
                self._wait_for(name)
            if name == "containerd":
                imports = [pool.submit(self._import, image) for image in self._missing()]
        for name in daemons.DAEMONS:
            step.update(name)
            self._wait_for(name)
        step.update("node Ready")
        self._wait_for_node()
        for done, future in enumerate(imports):
            step.update(f"images: {done} of {len(imports)} imported")
            future.result()

    def import_images(self) -> None:
        """Import the images that the node, which runs, doesn't have yet."""
        for image in self._missing():
            self._import(image)

    def stop(self) -> None:
        """Remove all that the node is; a node that isn't there is no error."""
        with progress.step("stopping the node"):
            self._end()
            limits.restore(self.at.state)
            self._remove_state()

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the cluster's administrator."""
        kubectl = [str(self.at.tools / "kubectl"), f"--kubeconfig={self.kubeconfig}"]
        return network.run(
            [*kubectl, f"--cache-dir={self.at.state / 'kubectl-cache'}", *arguments], stdin=stdin
        )

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client in the namespace of Kubernetes."""
        ctr = [str(self.at.tools / "ctr"), f"--address={self.at.containerd_socket}"]
        return network.run([*ctr, "--namespace=k8s.io", *arguments])

    def inside(self, *command: str) -> list[str]:
        """A command line that runs in the node's namespaces."""
        handles = (f"--net={network.NAMESPACE}", f"--mount={mounts.namespace(self.at.state)}")
        return ["nsenter", *handles, "--", *command]

    def _prepare(self) -> None:
        """Have namespaces and files; processes of namespaces that are lost can't be kept."""
        self.at.state.mkdir(parents=True, exist_ok=True)
        limits.lift(self.at.state)
        if not (network.exists() and mounts.exists(self.at.state)):
            self._end()
            network.create()
            mounts.create(self.at.state)
        pki.create(self.at.pki)
        daemons.write_configuration(self.at)

    def _end(self) -> None:
        """End every process and let the namespaces go; the state directory stays."""
        cgroup.kill()
        mounts.delete(self.at.state)
        network.delete()
        cgroup.remove()

    def _remove_state(self) -> None:
        """Remove the state directory; where it is a mount point, all that is in it."""
        state = self.at.state
        if not state.exists():
            return
        for entry in state.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not network.is_mounted(state):
            state.rmdir()

    def _launch(self, name: str) -> None:
        """Start a process that doesn't run: detached, in its cgroup and the node's namespaces."""
        if cgroup.leader(name):
            return
        command = cgroup.inside(name, *self.inside(*daemons.command(name, self.at)))
        with self._log(name).open("ab") as log:
            subprocess.run(
                ["setsid", "--fork", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Nothing of the user's: a proxy in the environment would swallow every call.
                env={"PATH": f"{self.at.tools}:/usr/sbin:/usr/bin:/sbin:/bin"},
                check=True,
            )
        until(lambda: cgroup.leader(name) is not None, 5, partial(self._died, name))

    def _wait_for(self, name: str) -> None:
        """Wait until a process is healthy; one that has ended is reported with its last words."""

        def healthy() -> bool:
            if cgroup.leader(name) is None:
                raise self._died(name)
            return self._is_healthy(name)

        until(healthy, START_TIMEOUT, partial(self._unhealthy, name))

    def _is_healthy(self, name: str) -> bool:
        with suppress(OSError):  # urllib's errors are OSErrors too
            if url := daemons.HEALTH.get(name):
                return http_ok(url)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.at.containerd_socket))
                return True
        return False

    def _wait_for_node(self) -> None:
        self.kubectl("wait", "--for=create", f"node/{NAME}", "--timeout=30s")
        self.kubectl("wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=60s")

    def _missing(self) -> list[str]:
        """The images to import: those not yet imported from the very file that is there now."""
        return [image for image in self.images if self._imported(image) != self._stamp(image)]

    def _import(self, image: str) -> None:
        self.ctr("images", "import", str(self.images[image]))
        if not self.ctr("images", "list", "--quiet", f"name=={image}"):
            raise LabError(f"{self.images[image]} holds no image named {image}: build it again")
        record = self._record(image)
        record.parent.mkdir(exist_ok=True)
        files.write(record, self._stamp(image))

    def _imported(self, image: str) -> str:
        with suppress(FileNotFoundError):
            return self._record(image).read_text()
        return ""

    def _stamp(self, image: str) -> str:
        return f"{self.images[image]} {self.images[image].stat().st_mtime_ns}"

    def _record(self, image: str) -> Path:
        return self.at.state / "imported" / urllib.parse.quote(image, safe="")

    def _died(self, name: str) -> LabError:
        return LabError(f"{name} ended: {self._last_words(name)} (all of it: {self._log(name)})")

    def _unhealthy(self, name: str) -> LabError:
        return LabError(
            f"{name} is not healthy after {START_TIMEOUT:.0f} s: {self._last_words(name)} "
            f"(all of it: {self._log(name)})"
        )

    def _last_words(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def _log(self, name: str) -> Path:
        return self.at.logs / f"{name}.log"


def until(condition: Callable[[], bool], timeout: float, error: Callable[[], LabError]) -> None:
    """Wait for a condition; raise the error that `error` makes when it takes too long."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise error()
        time.sleep(0.05)


def http_ok(url: str) -> bool:
    """Whether a health check answers 200; whose certificate doesn't matter here."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=UNVERIFIED)
    )
    with opener.open(url, timeout=2) as response:
        return bool(response.status == 200)
