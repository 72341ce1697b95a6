"""The images that the lab's node runs, under their official names.

None of them can be pulled on a machine that reaches package registries only, so they are made from
a Debian base system and the lab's own programs, by the BuildKit that the lab has just built. Each
one is an archive in the cache, keyed by all that it is made from; its layers are not compressed,
since they are imported on the same machine.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab import LabError, build, progress
from lab.paths import CACHE, REPO

DEBIAN_PACKAGES = ("debootstrap", "gcc", "libc6-dev", "util-linux")
"""What making the images needs on the machine."""

DOCKERFILES = REPO / "lab" / "images"
SUITE = "bookworm"
STORE = CACHE / "images"
WORK = STORE / ".work"
CGROUP = "buildkit-lab-images"
LONGEST = 900.0  # seconds for one command; the slowest takes half a minute
_MIRROR = "; check that the Debian mirror is reachable (`apt-get update`) and the disk has room"
ADVICE = {"debootstrap": _MIRROR, "apt-get": _MIRROR}
START_TIMEOUT = 30.0  # seconds for buildkitd to answer; it takes under one

# What a base system has and an image does not need.
LEFT_OUT = (
    "dev/*",
    "proc/*",
    "sys/*",
    "etc/hostname",
    "etc/resolv.conf",
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/*/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)

# Debian packages over the base system, by the directory of the build context that holds them.
ADDED = {
    "buildkit": (
        *("busybox-static", "ca-certificates", "fuse-overlayfs", "fuse3", "git", "iptables"),
        "libcap2-bin",
        *("libseccomp2", "openssh-client", "openssl", "pigz", "rootlesskit", "uidmap", "xz-utils"),
    ),
    "busybox": ("busybox-static",),
}


@dataclass(frozen=True)
class Image:
    """An image: its Dockerfile under lab/images, and what that takes from the build context."""

    name: str
    dockerfile: str
    tools: tuple[str, ...] = ()
    base: bool = True
    """Whether it starts from the Debian base system."""
    added: str = ""
    """The key of its Debian packages in `ADDED`."""
    target: str = ""
    """The Dockerfile's stage, where it has several to end with."""
    suffix: str = ""
    """The end of its programs' names, where the plain ones are another version's."""

    def path(self, tools: Path, base_key: str) -> Path:
        """Where the archive is kept."""
        sources = [*DOCKERFILES.glob(f"{self.dockerfile}.*")]
        programs = [(tools / tool).resolve().name for tool in (*self.tools, "buildkitd")]
        key = build.digest(
            self.name,
            self.target,
            self.suffix,
            *(source.read_bytes() for source in sorted(sources)),
            *programs,
            *((base_key,) if self.base else ()),
            *ADDED.get(self.added, ()),
        )
        return STORE / f"{self.name.rpartition('/')[2].replace(':', '-')}-{key}.tar"


def _buildkit(version: str, suffix: str = "") -> tuple[Image, Image]:
    """The image for `privileged` and `userns`, and the rootless one."""
    name = f"docker.io/moby/buildkit:{version}"
    tools = (f"buildkitd{suffix}", f"buildctl{suffix}", "runc")
    common = ("buildkit", tools, True, "buildkit")
    return (
        Image(name, *common, "buildkit", suffix),
        Image(f"{name}-rootless", *common, "rootless", suffix),
    )


IMAGES = (
    Image("docker.io/library/debian:bookworm-slim", "base"),
    *_buildkit("v0.34.2"),
    Image("docker.io/envoyproxy/envoy:v1.40.0", "envoy", ("envoy",)),
    Image("docker.io/library/busybox:stable", "busybox", added="busybox"),
    Image("docker.io/library/registry:3.1.2", "registry", ("registry",), base=False),
    Image("registry.k8s.io/coredns/coredns:v1.15.0", "coredns", ("coredns",), base=False),
    Image(
        "docker.io/rancher/local-path-provisioner:v0.0.30",
        "local-path-provisioner",
        ("local-path-provisioner",),
        base=False,
    ),
    Image("registry.k8s.io/pause:3.10", "pause", base=False),
)
PREVIOUS_BUILDKIT = _buildkit("v0.33.1", "-0.33")
"""What a test updates from; the programs are those of `build.PREVIOUS_BUILDKIT`."""

KEDA = (
    Image("ghcr.io/kedacore/keda:2.21.0", "keda", ("keda-operator",), False, target="operator"),
    Image(
        *("ghcr.io/kedacore/keda-metrics-apiserver:2.21.0", "keda"),
        *(("keda-adapter",), False),
        target="adapter",
    ),
)
"""What only a node with KEDA runs; the programs are those of `build.KEDA`."""


def images(tools: Path, wanted: tuple[Image, ...] = IMAGES) -> dict[str, Path]:
    """Build what is missing; the archive of every wanted image by the image's name."""
    base_key = build.digest(SUITE, *LEFT_OUT)
    paths = {image.name: image.path(tools, base_key) for image in wanted}
    missing = [image for image in wanted if not paths[image.name].exists()]
    if missing:
        # How many are missing is part of the title, so that each forecast is of alike work.
        title = f"build {len(missing)} image{'s'[: len(missing) > 1]}"
        with (
            progress.step(title, 30 + 5 * len(missing)) as work,
            build.locked(STORE / "lock", work),
            _work_directory(),
        ):
            work.update("")
            missing = [image for image in missing if not paths[image.name].exists()]
            _build_missing(missing, paths, tools, STORE / f"rootfs-{SUITE}-{base_key}.tar")
    return paths


def _build_missing(missing: list[Image], paths: dict[str, Path], tools: Path, rootfs: Path) -> None:
    """Put the ingredients into a build context, then build one image after the other."""
    if not missing:  # another process has built them meanwhile
        return
    context = WORK / "context"
    context.mkdir()
    if any(image.base for image in missing):
        _rootfs(rootfs)
        os.link(rootfs, context / "rootfs.tar")
    for added in sorted({image.added for image in missing} - {""}):
        _debs(ADDED[added], rootfs, context / "debs" / added)
    _programs(tools, {tool for image in missing for tool in image.tools}, context)
    with _buildkitd(tools) as buildctl:
        for image in missing:
            with progress.step(f"image {image.name}", 10):
                made = WORK / "image.tar"
                _run("buildctl", *_build_command(buildctl, image, context, made))
                made.chmod(0o644)
                made.rename(paths[image.name])


def _build_command(buildctl: list[str], image: Image, context: Path, made: Path) -> list[str]:
    """The arguments that make an image's archive from its Dockerfile."""
    output = f"type=oci,name={image.name},dest={made},compression=uncompressed"
    frontend = ["--frontend=dockerfile.v0", f"--opt=filename={image.dockerfile}.Dockerfile"]
    target = [f"--opt=target={image.target}"] if image.target else []
    if image.suffix:
        target += [f"--opt=build-arg:SUFFIX={image.suffix}"]
    local = [f"--local=context={context}", f"--local=dockerfile={DOCKERFILES}"]
    return [*buildctl, "build", "--progress=plain", *frontend, *target, *local, "--output", output]


def _rootfs(path: Path) -> None:
    """The Debian base system as an archive, made once."""
    if path.exists():
        return
    with progress.step("Debian base system", 26):
        root, made = WORK / "rootfs", WORK / "rootfs.tar"
        # In mount namespaces of their own: nothing stays mounted, however it ends.
        debootstrap = ["unshare", "--mount", "debootstrap", "--variant=minbase"]
        _run("debootstrap", *debootstrap, SUITE, str(root), *_mirror())
        excluded = [f"--exclude=./{pattern}" for pattern in LEFT_OUT]
        _run("tar", "tar", "-C", str(root), *excluded, "--numeric-owner", "-cf", str(made), ".")
        shutil.rmtree(root)
        made.rename(path)


def _mirror() -> list[str]:
    """The Debian mirror that apt is configured with; without one, debootstrap's own choice."""
    indexes = _output(
        *("apt-get", "indextargets", "--format", "$(REPO_URI)"),
        *("Created-By: Packages", f"Release: {SUITE}", "Origin: Debian"),
    )
    return indexes.split()[:1]


def _debs(packages: tuple[str, ...], rootfs: Path, directory: Path) -> None:
    """Download packages, and what they need beyond the base system, with the machine's own apt."""
    with progress.step(f"Debian packages for {directory.name}", 4):
        (directory / "partial").mkdir(parents=True)
        status = WORK / "status"
        status.write_text(_output("tar", "-xOf", str(rootfs), "./var/lib/dpkg/status"))
        options = {
            "Dir::State::Status": status,
            "Dir::Cache::Archives": directory,
            "Debug::NoLocking": 1,
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": 0,
        }
        settings = [f"--option={name}={value}" for name, value in options.items()]
        _run("apt-get", "apt-get", *settings, "--yes", "--download-only", "install", *packages)


def _programs(tools: Path, names: set[str], context: Path) -> None:
    """The programs, BuildKit's own scripts and pause, where the Dockerfiles look for them."""
    (context / "bin").mkdir()
    for name in names:
        os.link((tools / name).resolve(), context / "bin" / name)
    upstream = build.module_dir("buildkit", "github.com/moby/buildkit")
    for part in ("hack", "examples/buildctl-daemonless"):
        shutil.copytree(upstream / part, context / "buildkit" / part, copy_function=shutil.copy)
    source = str(DOCKERFILES / "pause.c")
    _run("gcc", "gcc", "-Os", "-static", "-s", "-o", str(context / "pause"), source)


@contextmanager
def _work_directory() -> Iterator[None]:
    """An empty directory for one build, which holds the lock; nothing of it stays."""
    _remove(WORK)
    WORK.mkdir()
    try:
        yield
    finally:
        _remove(WORK)


def _remove(directory: Path) -> None:
    """Remove a tree, if it is there."""
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)


@contextmanager
def _buildkitd(tools: Path) -> Iterator[list[str]]:
    """A BuildKit for these builds alone; gives the start of a buildctl command line."""
    with tempfile.TemporaryDirectory(prefix="buildkit-lab-") as runtime:
        address = f"unix://{runtime}/buildkitd.sock"
        config = Path(runtime, "buildkitd.toml")
        config.write_text(f'[worker.oci]\ndefaultCgroupParent = "{CGROUP}"\n')
        log = Path(runtime, "log")
        with log.open("w") as output:
            # It ends with us, and its mounts with it: no mount of it is seen outside.
            process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig=TERM", "unshare", "--mount"),
                    *(str(tools / "buildkitd"), f"--config={config}", f"--addr={address}"),
                    *(f"--root={WORK}/buildkitd", f"--otel-socket-path={runtime}/otel.sock"),
                    *("--containerd-worker=false", "--oci-worker-gc=false", "--cdi-disabled"),
                    *(f"--oci-worker-binary={tools / 'runc'}", "--oci-worker-net=host"),
                ],
                # It looks for runc on the PATH before it takes the one that it is given.
                env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            buildctl = [str(tools / "buildctl"), f"--addr={address}"]
            _await(process, buildctl, log)
            yield buildctl
        finally:
            _stop(process)


def _await(process: subprocess.Popen[bytes], buildctl: list[str], log: Path) -> None:
    """Wait until buildkitd answers."""
    deadline = time.monotonic() + START_TIMEOUT
    while subprocess.run([*buildctl, "debug", "workers"], capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"buildkitd does not start:\n{_last_lines(log.read_text())}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End buildkitd and take away the cgroups of its steps."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for top in (*Path("/sys/fs/cgroup").glob(CGROUP), *Path("/sys/fs/cgroup").glob(f"*/{CGROUP}")):
        for cgroup, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(cgroup)


def _run(name: str, *command: str) -> None:
    """Run a command with all that it starts; its last lines are the error."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        wanted = " ".join(DEBIAN_PACKAGES)
        raise LabError(f"{name} is missing; install the Debian packages {wanted}") from None
    advice = ADVICE.get(name, "")
    with process:
        try:
            output, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            raise LabError(f"{name} has not ended after {LONGEST:.0f} s{advice}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise LabError(f"{name} fails{advice}:\n{_last_lines(output)}")


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout


def _last_lines(text: str) -> str:
    """The end of a program's output, without the lines of a Go stack."""
    lines = [line for line in text.splitlines() if " " in line.strip()]
    return "\n".join(f"  {line}" for line in lines[-build.LAST_LINES :])
