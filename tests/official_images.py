"""What can be run in the official images: their own programs, and those of what they are made from.

From the Dockerfiles of the projects: github.com/moby/buildkit `Dockerfile` (alpine, and the
packages that it adds), github.com/envoyproxy/envoy `distribution/docker/Dockerfile-envoy` (ubuntu)
and github.com/docker-library/busybox. The lab's images are made from Debian and have more.
"""

import re
import shlex
from collections.abc import Iterator


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BUSYBOX = _words(
    "[ ash awk basename cat chmod chown cp cut date dirname echo env expr false find flock grep "
    "head hostname id kill ln ls mkdir mkfifo mktemp mv nc nslookup pgrep printf ps pwd readlink "
    "rm sed seq sh sleep sort stat tail tee test timeout touch tr true uniq wc wget xargs"
)
_UBUNTU = _words(
    "[ awk basename bash cat chmod chown cp cut date dirname echo env expr false find flock grep "
    "head id kill ln ls mkdir mkfifo mktemp mv printf pwd readlink rm sed seq sh sleep sort stat "
    "tail tee test timeout touch tr true uniq wc xargs"
)
_BUILDKIT = _BUSYBOX | _words("buildctl buildctl-daemonless.sh buildkitd buildkit-runc git")

PROGRAMS = {
    "docker.io/moby/buildkit:v0.34.2": _BUILDKIT | _words("buildkitd-entrypoint iptables"),
    "docker.io/moby/buildkit:v0.34.2-rootless": _BUILDKIT | _words("rootlesskit newuidmap"),
    "docker.io/library/busybox:stable": _BUSYBOX | _words("sysctl"),
    "docker.io/envoyproxy/envoy:v1.40.0": _UBUNTU | _words("envoy"),
}
_BUILTINS = _words("cd command exit export for read return set shift trap unset wait :")
_THEN_A_COMMAND = _words("; && || | & ( ! { if elif while until do then else exec")
_NO_COMMAND = _words("done fi } )")


def missing(image: str, command: list[str]) -> set[str]:
    """The programs that *command* runs and the official *image* doesn't have."""
    return set(_programs(command)) - PROGRAMS[image]


def _programs(command: list[str]) -> Iterator[str]:
    yield command[0]
    if command[0] in ("sh", "bash", "ash") and "-c" in command:
        yield from _script_programs(command[command.index("-c") + 1])


def _script_programs(script: str) -> Iterator[str]:
    functions = set(re.findall(r"^(\w+)\(\) \{$", script, re.MULTILINE))
    whole = script.replace("\\\n", "")
    text = re.sub(r"(^|\s)#.*|^\w+\(\) |\$\(\(.*?\)\)", "", whole, flags=re.MULTILINE)
    lines = text.replace("$(", " ( ").replace("\n", " ; ")
    words = shlex.shlex(lines, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    expected = True
    for word in words:
        if word in _THEN_A_COMMAND:
            expected = True
        elif expected and "=" not in word and word not in _NO_COMMAND:
            expected = False
            # What a variable holds is somebody else's to say.
            if word not in _BUILTINS | functions and not word.isdigit() and word[0] != "$":
                yield word
