"""The pod that a key's builds go to: the same key meets the same local cache again.

The client's half of a StatefulSet of BuildKits, in the function `pod_for` and the command
`buildkit-pod`. Both answer as the tool in BuildKit's examples does:
https://github.com/moby/buildkit/tree/v0.34.2/examples/kubernetes/consistenthash

A module of its own, of the standard library only: the command starts at once, where
`import pulumi_buildkit` takes a second, and a CI image needs this file and nothing else.
"""

import argparse
import hashlib
import json
import os
import re
import stat
import struct
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

EPILOG = """\
The ready pods are asked for by kubectl. With `-`, or where names are piped in and no option speaks
of the cluster, they are read from standard input, one a line.
"""
STATEFUL_SET = "buildkitd"  # of upstream's manifest, and of the stack
REQUEST_TIMEOUT = "20s"
# What kube-pod:// takes as a pod's name.
POD_NAME = re.compile(r"[-a-z0-9.]+")


def pod_for(key: str, pods: Iterable[str]) -> str:
    """The pod among *pods* for *key*; their order does not matter, nor that some are there twice.

    Raises:
        ValueError: there are no pods.
    """
    ring = sorted((_place(f"{pod}-0"), pod) for pod in pods)
    if not ring:
        raise ValueError("no pods to choose from")
    following = bisect_right(ring, _place(key), key=itemgetter(0))
    return ring[following % len(ring)][1]


def _place(text: str) -> tuple[int, int]:
    """Where on the ring, as github.com/serialx/hashring has it: the MD5 sum as two integers."""
    data = text.encode(errors="surrogateescape")  # arguments that are not UTF-8 are what they were
    high, low = struct.unpack("<qq", hashlib.md5(data, usedforsecurity=False).digest())
    return high, low


def main() -> None:
    """Print the pod for the key on the command line."""
    arguments = _parser().parse_args()
    try:
        print(pod_for(arguments.key, _pods(arguments)))
    except (ValueError, OSError) as error:
        sys.exit(f"buildkit-pod: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "buildkit-pod",
        description="Print the BuildKit pod for KEY: the same key, the same pod, the same cache.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("key", metavar="KEY", help="what is built, as github.com/team/project:dir")
    parser.add_argument("source", metavar="-", nargs="?", choices=["-"], help="read standard input")
    parser.add_argument("-n", "--namespace", help="of the pods (default: the context's)")
    parser.add_argument("--context", help="of the kubeconfig (default: the current one)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--statefulset", help=f"whose pods (default: {STATEFUL_SET})")
    which.add_argument("-l", "--selector", help="any pods with these labels, as app=buildkitd")
    return parser


def _pods(arguments: argparse.Namespace) -> list[str]:
    names = ("context", "namespace", "selector", "statefulset")
    asked = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.source and asked:
        raise ValueError(f"`-` asks no cluster: leave it out, or --{' and --'.join(asked)}")
    if arguments.source or (_piped() and not asked):
        return _named(sys.stdin.buffer.read().decode(errors="replace"))
    return _ready(arguments)


def _piped() -> bool:
    """Whether standard input is a pipe or a file: no terminal, not /dev/null, not closed."""
    return sys.stdin is not None and not stat.S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode)


def _named(text: str) -> list[str]:
    """The names in *text*, one a line."""
    names = [name for line in text.split("\n") if (name := line.strip())]
    if not names:
        raise ValueError("standard input names no pod; with --namespace the cluster is asked")
    wrong = next((name for name in names if not POD_NAME.fullmatch(name)), None)
    if wrong is not None:
        raise ValueError(f"standard input has {wrong!r}: names of pods alone are read, one a line")
    return names


def _ready(arguments: argparse.Namespace) -> list[str]:
    """The names of the cluster's ready pods."""
    stateful_set = arguments.statefulset or STATEFUL_SET
    found = _listed(arguments)
    if not arguments.selector:
        found = [pod for pod in found if _owner(pod) == stateful_set]
    ready = [pod["metadata"]["name"] for pod in found if _is_ready(pod)]
    if not ready:
        which = arguments.selector or f"the StatefulSet {stateful_set}"
        where = arguments.namespace or "the context's namespace"
        raise ValueError(f"no pod of {which} in {where} is ready, of {len(found)}")
    return ready


def _listed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The pods as kubectl lists them; what it says goes to standard error as it comes."""
    options = ("context", "namespace", "selector")
    given = [f"--{name}={value}" for name in options if (value := getattr(arguments, name))]
    command = ["kubectl", "get", "pods", "--output=json", f"--request-timeout={REQUEST_TIMEOUT}"]
    try:
        done = subprocess.run([*command, *given], stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise ValueError("kubectl is not on the PATH; kube-pod:// needs it too") from None
    if done.returncode:
        raise ValueError("kubectl could not list the pods")
    return json.loads(done.stdout)["items"]


def _owner(pod: dict[str, Any]) -> str | None:
    """The StatefulSet that a pod is of."""
    owners = pod["metadata"].get("ownerReferences", [])
    return next((owner["name"] for owner in owners if owner["kind"] == "StatefulSet"), None)


def _is_ready(pod: dict[str, Any]) -> bool:
    """Whether a new build can go to a pod: one that is going away is ready until it is gone."""
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


if __name__ == "__main__":
    main()
