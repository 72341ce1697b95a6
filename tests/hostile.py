"""What a step of a hostile build tries, and in which security variants it succeeds.

The lab's tests run each attempt in each variant; docs/security.md has a table of them.
"""

from typing import NamedTuple

from pulumi_buildkit import Security

_NOWHERE: frozenset[Security] = frozenset()
_ROOTLESS = frozenset({Security.ROOTLESS})
_PRIVILEGED = frozenset({Security.PRIVILEGED})
_AS_ROOT = frozenset({Security.PRIVILEGED, Security.USERNS})
_EVERYWHERE = frozenset(Security)

VICTIM = "of-another-build"
"""In the command line of the step that another build runs at the same time."""
SECRET = "hush-hush"
"""With what the secret of that one begins."""
LEFT = "left-behind"
"""In the command line of a process that a hostile step leaves."""
GATEWAY_KEYS = ("server", "upstream")


class Attempt(NamedTuple):
    """One thing that a step tries."""

    what: str
    """As the page says it."""
    how: str
    """A command of a shell in the step, that succeeds as the attempt does."""
    succeeds: frozenset[Security] = _NOWHERE
    """Where it does."""
    later: str = "true"
    """A command of a step of the next build, that succeeds as the attempt did."""


def _api(how: str) -> str:
    return f"buildctl {how} --timeout 3 debug workers"


def _for(variable: str, values: str, command: str) -> str:
    """Try a *command* for each of some values until it succeeds."""
    return f"for {variable} in {values}; do {command} && exit 0; done; exit 1"


def _read(*names: str) -> str:
    """Read any of the files *names*, in any process's mounts."""
    return _for("root", "'' /proc/[0-9]*/root", " || ".join(f"cat $root{name}" for name in names))


def _call(number: int, arguments: str, succeeded: str) -> str:
    """Make a system call of x86-64, which *succeeded* if it says so."""
    script = f"$text = q(x); $said = syscall({number}, {arguments}); print $!; exit !({succeeded})"
    return f"perl -e '{script}'"


def _of(file: str, line: str) -> str:
    """The processes with a *line* in a file of theirs, but for the one that looks."""
    return f"$(grep -ls '{line[:-1]}[{line[-1]}]' /proc/[0-9]*/{file} | cut -d/ -f3)"


_BY_TLS = "--addr tcp://127.0.0.1:1234 --tlsservername $SERVER --tlscacert /mine/its-ca.pem"
_PATH = "${SOCKET#unix://}"
_TOKEN = "secrets/kubernetes.io/serviceaccount/token"
# PTRACE_SEIZE, which does not stop it.
_SEIZE = "0x4206, $ENV{pid} + 0, 0, 0"
_BUILDKITD = _of("comm", "^buildkitd")
_VICTIM = _of("cmdline", VICTIM)

ATTEMPTS = (
    Attempt("call buildkitd's API in plaintext", _api("--addr tcp://127.0.0.1:1234")),
    Attempt("the same at the pod's address", _api("--addr tcp://$ADDRESS:1234")),
    Attempt("the same by TLS without a certificate", _api(_BY_TLS)),
    Attempt(
        "the same with a client's certificate",
        _api(f"{_BY_TLS} --tlscert /mine/cert.pem --tlskey /mine/key.pem"),
    ),
    Attempt("call it by its Unix socket", _api("--addr $SOCKET")),
    Attempt(
        "the same by the socket in another process's mounts",
        _for(
            "root",
            "/proc/[0-9]*/root",
            f"test -S $root{_PATH} && {_api(f'--addr unix://$root{_PATH}')}",
        ),
    ),
    Attempt("read the key of buildkitd's certificate", _read("/certs/key.pem")),
    Attempt("read a key of the gateway's", _read(*(f"/certs/{of}/key.pem" for of in GATEWAY_KEYS))),
    Attempt("read a service account's token", _read(f"/run/{_TOKEN}", f"/var/run/{_TOKEN}")),
    Attempt("see processes of the node", "grep -sx kubelet /proc/[0-9]*/comm"),
    Attempt("see the processes of buildkitd's pod", f'test -n "{_BUILDKITD}"', _ROOTLESS),
    Attempt("end buildkitd", f"kill -0 {_BUILDKITD}", _ROOTLESS),
    Attempt(
        "trace buildkitd",
        f"export pid; {_for('pid', _BUILDKITD, _call(101, _SEIZE, '$said == 0'))}",
    ),
    Attempt("see a step of another build", f'test -n "{_VICTIM}"', _ROOTLESS),
    Attempt("end it", f"kill -0 {_VICTIM}", _ROOTLESS),
    Attempt("read its secret", f"grep -qs {SECRET} /proc/[0-9]*/root/run/secrets/token", _ROOTLESS),
    Attempt(
        "write into its files", _for("pid", _VICTIM, "touch /proc/$pid/root/written"), _ROOTLESS
    ),
    Attempt("use its cache mounts, by their names", "test -e /shared/ready", _EVERYWHERE),
    Attempt(
        "leave a process behind, which sees the next builds",
        f"setsid sh -c 'sleep 1000; :' {LEFT} < /dev/null > /dev/null 2>&1 &",
        _ROOTLESS,
        later=f'test -n "{_of("cmdline", LEFT)}"',
    ),
    Attempt(
        "be root on the node",
        "read _ outside _ < /proc/self/uid_map; test $outside = 0",
        _PRIVILEGED,
    ),
    Attempt("set a sysctl of the node", "cd /proc/sys/kernel; was=$(cat panic); echo $was > panic"),
    Attempt("make a device node", "mknod /dev/shm/made b 7 0", _PRIVILEGED),
    Attempt(
        "read a disk of the node",
        "cd /dev/shm; while read major minor _ name; do "
        "mknod disk b $major $minor && head -c 1 disk && exit 0; rm -f disk; "
        "done < /proc/partitions; exit 1",
    ),
    Attempt("read the node's kernel log", "mknod /dev/shm/log c 1 11; head -c 1 /dev/shm/log"),
    Attempt("mount a file system", "mount -t tmpfs none /mnt"),
    Attempt("make a user namespace", "unshare --user --map-root-user true"),
    Attempt("load a kernel module", _call(175, "$text, 1, $text", "$! == 8")),
    Attempt("see what the pod sends and receives", _call(41, "17, 3, 768", "$said >= 0"), _AS_ROOT),
)
