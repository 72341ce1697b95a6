"""What a machine shows of a lab: taken before and after, the two must be equal."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab.network import NAME
from lab.paths import STATE

HIERARCHIES = Path("/sys/fs/cgroup")
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/netfilter/nf_conntrack_max",
    "net/bridge/bridge-nf-call-iptables",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "user/max_user_namespaces",
    "fs/inotify/max_user_instances",
)


def snapshot() -> dict[str, list[str]]:
    """Everything that a node could leave behind, by kind."""
    return {
        "mounts": sorted(_fields("/proc/self/mountinfo", 4)),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "network namespaces": _list("/run/netns"),
        "routes": _output("ip", "route", "show", "table", "all"),
        "rules": _output("ip", "rule"),
        "packet filter": _output("iptables-save"),
        "cgroups": sorted(_cgroups()),
        "processes in namespaces of their own": sorted(_namespaced_processes()),
        "Pulumi and its plugins": sorted(_plugins()),
        "sysctls": [f"{name}={_read(f'/proc/sys/{name}')}" for name in SYSCTLS],
        "state": sorted(str(p) for d in ("/run", "/var/lib") for p in Path(d).glob("buildkit*")),
    }


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """What is there now and was not, and the other way round."""
    return [
        f"{kind}: {sign} {thing}"
        for kind in before
        for sign, here, there in (("+", after, before), ("-", before, after))
        for thing in here[kind]
        if thing not in there[kind]
    ]


def _fields(file: str, index: int) -> list[str]:
    return [line.split()[index] for line in Path(file).read_text().splitlines()]


def _list(directory: str) -> list[str]:
    return sorted(os.listdir(directory)) if Path(directory).is_dir() else []


def _output(*command: str) -> list[str]:
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if not line.startswith(("#", ":"))]


def _cgroups() -> Iterator[str]:
    """Those of the node and those that Kubernetes makes at the top, of one hierarchy or of each.

    The machine makes and removes its own at any time, and so does another cluster on it.
    """
    for top in ("buildkit*", "kubepods*", "k8s.io"):
        for group in (*HIERARCHIES.glob(top), *HIERARCHIES.glob(f"*/{top}")):
            for directory, _, _ in os.walk(group):
                yield directory


def _plugins() -> Iterator[str]:
    """What Pulumi starts by the lab's tools, and its programs; a CLI that is killed leaves them."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have ended
            command = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if any(of in command for of in (str(STATE), "pulumi-language-", "lab.providers")):
                yield f"{process.name}: {command}"


def _namespaced_processes() -> Iterator[str]:
    """Those of the node and those that the tests may have left; others' are their business."""
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            other = any(os.readlink(process / "ns" / kind) != ns for kind, ns in own.items())
            if other and _may_be_the_labs(process) and (process / "cmdline").read_text():
                yield (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it has ended


def _may_be_the_labs(process: Path) -> bool:
    """Whether it is in the node's cgroup or in that of the tests, which start all commands."""
    groups = (process / "cgroup").read_text()
    return f"/{NAME}" in groups or groups == Path("/proc/self/cgroup").read_text()


def _read(file: str) -> str:
    return Path(file).read_text().strip() if Path(file).exists() else "none"
