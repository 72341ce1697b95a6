"""The node's own mount namespace: the host sees none of its mounts, and they end with it.

Inside, /run is empty and writes to /var vanish: Kubernetes and containerd have paths there that
no setting moves (/run/containerd/s, /var/lib/kubelet/device-plugins, /var/lib/cni, /var/log).
"""

from pathlib import Path

from lab.network import is_mounted, run, unmount

# $1 is the state directory. It is carried across the new /run and /var, so that its path means
# the same inside and outside.
ENTER = """
mount --no-mtab -t tmpfs -o mode=755 run /run
mkdir /run/state /run/var /run/var.work
mount --rbind "$1" /run/state
mount -t overlay -o lowerdir=/var,upperdir=/run/var,workdir=/run/var.work var /var
mkdir -p "$1"
mount --move /run/state "$1"
mount --make-rshared /
touch "$1/run/complete"
"""

# The kernel settings that the kubelet insists on are the machine's. It gets copies of them, in
# yet another mount namespace: under a covered /proc no pod could have a user namespace. Its
# other mounts still reach the node's namespace.
KUBELET_SYSCTLS = (
    *("kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic"),
    *("kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom"),
)
COPY_SYSCTLS = """
mount --make-rprivate /proc
copies=$(mktemp -d /run/sysctl.XXXXXX)
while [ "$1" != -- ]; do
  copy=$copies/$(echo "$1" | tr / .)
  cat "/proc/sys/$1" > "$copy"
  mount --bind "$copy" "/proc/sys/$1"
  shift
done
shift
exec "$@"
"""


def runtime(state: Path) -> Path:
    """Where sockets and other things live that must not outlive a reboot."""
    return state / "run"


def namespace(state: Path) -> Path:
    """The handle of the node's mount namespace."""
    return runtime(state) / "mounts"


def exists(state: Path) -> bool:
    """Whether the namespace is there and complete."""
    return is_mounted(namespace(state)) and (runtime(state) / "complete").exists()


def create(state: Path) -> None:
    """Make the namespace and keep it by its handle, so that it outlives every process."""
    delete(state)
    runtime(state).mkdir(parents=True, exist_ok=True)
    run(
        ["mount", "--no-mtab", "-t", "tmpfs", "-o", "mode=700", "buildkit-lab", str(runtime(state))]
    )
    # The kernel keeps a mount namespace's handle on private mounts only.
    run(["mount", "--no-mtab", "--make-private", str(runtime(state))])
    namespace(state).touch()
    unshare = ("unshare", f"--mount={namespace(state)}", "--propagation", "slave")
    run([*unshare, "sh", "-euc", ENTER, "sh", str(state)])


def delete(state: Path) -> None:
    """Let the namespace go; its mounts go with its last process."""
    unmount(namespace(state))
    unmount(runtime(state))


def with_own_sysctls(command: list[str]) -> list[str]:
    """A command line that sees copies of the machine's kernel settings, to change as it likes."""
    unshare = ("unshare", "--mount", "--propagation", "unchanged", "--")
    return [*unshare, "sh", "-euc", COPY_SYSCTLS, "sh", *KUBELET_SYSCTLS, "--", *command]
