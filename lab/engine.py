"""The Pulumi that runs the program: the official one where it is installed, else the lab's own.

The lab's own is official too, as far as Go modules have it: CLI, language hosts and the Kubernetes
provider. `lab.providers` serves tls and random.
"""

import importlib.metadata
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab import LabError, build, cgroup, files, interrupt, progress, providers, stack_file
from lab.paths import CACHE, REPO

_LANGUAGE_HOST = "pulumi-language-python"


class StackError(LabError):
    """A Pulumi operation that failed, with all that it printed."""

    def __init__(self, line: str, output: str) -> None:
        super().__init__(line)
        self.output = output


class Engine:
    """A Pulumi CLI, its plugins, and a directory for its state."""

    def __init__(self, tools: Path, state: Path, in_node: bool = False) -> None:
        """Find the official Pulumi, or set the lab's own up in *state*.

        What it runs *in_node* ends with the node: a CLI that is killed leaves its plugins behind.
        """
        self.state = state
        self.in_node = in_node
        self.official = official_cli()
        state.mkdir(parents=True, exist_ok=True)
        passphrase = state / "passphrase"
        if not passphrase.exists():
            files.write(passphrase, secrets.token_urlsafe(), mode=0o600)
        self.environment = {
            # Without the files beside each file: Pulumi writes them in place, and one that was cut
            # off by a kill makes the whole state unreadable.
            "PULUMI_BACKEND_URL": f"file://{state}?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        if not self.official:
            self.environment["PULUMI_HOME"] = str(state / "home")
            _install_plugins(state / "home" / "plugins", tools)
        ours = Path(sys.executable).parent  # buildkit-pod; last, since it has a Python too
        path = (self.official or tools, tools, os.environ["PATH"], ours)
        # The Automation API, which tests use, looks for the CLI on this process's own PATH.
        os.environ["PATH"] = self.environment["PATH"] = os.pathsep.join(map(str, path))

    def __str__(self) -> str:
        """What runs the program, in one line."""
        return description(self.official)


def description(official: Path | None) -> str:
    """A Pulumi in one line: the one in a directory, or the lab's own."""
    if official:
        return f"Pulumi: the official CLI, language host and plugins, from {official}"
    host = build.version("pulumi-language-python", build.PULUMI_SDK)
    return (
        f"Pulumi: CLI {importlib.metadata.version('pulumi')}, Python language host {host} and "
        f"Kubernetes provider {build.KUBERNETES_PROVIDER_VERSION} from their Go modules, "
        "tls and random of lab/providers"
    )


def official_cli() -> Path | None:
    """The directory of a CLI with its language host on the PATH, unless the lab built them."""
    host = shutil.which(_LANGUAGE_HOST)
    return Path(host).parent if host and CACHE not in Path(host).parents else None


def _install_plugins(plugins: Path, tools: Path) -> None:
    """Install the plugins as `pulumi plugin install` would, in the versions that the SDKs ask for.

    The Kubernetes provider is older than that, which Pulumi warns of and works with.
    """
    for package in ("kubernetes", *providers.PACKAGES):
        wanted = importlib.metadata.version(f"pulumi-{package}")
        directory = plugins / f"resource-{package}-v{wanted}"
        directory.mkdir(parents=True, exist_ok=True)
        if package == "kubernetes":
            _install_kubernetes(directory, tools)
        else:
            providers.install(directory, package, sys.executable)


def _install_kubernetes(directory: Path, tools: Path) -> None:
    """Have the provider's schema and mapping beside it: lab/tools/pulumi-kubernetes/provider."""
    plugin = directory / "pulumi-resource-kubernetes"
    built = tools / "pulumi-kubernetes-provider"
    if plugin.exists() and plugin.samefile(built):
        return
    module = build.module_dir("pulumi-kubernetes", build.KUBERNETES_PROVIDER)
    upstream = module / "cmd" / plugin.name
    schema = json.loads((upstream / "schema.json").read_text())
    schema["version"] = build.KUBERNETES_PROVIDER_VERSION
    files.write(directory / "schema.json", json.dumps(schema))
    mapping = "terraform-mapping.json"
    files.write(directory / mapping, (upstream / mapping).read_bytes())
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(built)


class Stack:
    """One stack of the program, in a project directory that Pulumi may write a stack file to."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        directory: Path = REPO,
        kubeconfig: Path | None = None,
        **variables: str,
    ) -> None:
        """Take the stack file as it is in the *directory*, and further environment variables."""
        self._engine = engine
        self.name = name
        self.directory = directory
        self._environment = {**engine.environment, **variables}
        if kubeconfig:
            self._environment["KUBECONFIG"] = str(kubeconfig)
        self._selected = False

    @classmethod
    def copied(
        cls,
        engine: Engine,
        name: str,
        overrides: Mapping[str, Any] | None = None,
        kubeconfig: Path | None = None,
        **variables: str,
    ) -> "Stack":
        """A stack whose file is Pulumi.dev.yaml with *overrides*, in a directory of its own."""
        stack = cls(engine, name, engine.state / "projects" / name, kubeconfig, **variables)
        stack.configure(overrides or {})
        return stack

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the program is given."""
        return stack_file.read(self.file).get("config", {})

    @property
    def file(self) -> Path:
        """The stack file."""
        return self.directory / f"Pulumi.{self.name}.yaml"

    def configure(self, overrides: Mapping[str, Any]) -> None:
        """Write the project directory; what Pulumi added to the stack's file is kept."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for file in ("__main__.py", "settings", "components", ".venv"):
            link = self.directory / file
            if not link.is_symlink():
                link.symlink_to(REPO / file)
        shutil.copyfile(REPO / "Pulumi.yaml", self.directory / "Pulumi.yaml")
        content = {**stack_file.read(self.file), "config": merge(dev_config(), overrides)}
        files.write(self.file, yaml.safe_dump(content, sort_keys=False))

    def up(self, *options: str) -> str:
        """Create or update what the configuration says; what Pulumi printed."""
        return self._run("up", "--skip-preview", "--yes", *options)

    def preview(self, *options: str) -> str:
        """Say what `up` would do."""
        return self._run("preview", *options)

    def refresh(self) -> str:
        """Bring the state in line with the cluster."""
        return self._run("refresh", "--skip-preview", "--yes")

    def destroy(self) -> str:
        """Delete everything, and the stack with its file."""
        said = self._run("destroy", "--skip-preview", "--yes", "--remove")
        self._selected = False
        return said

    def cancel(self) -> None:
        """Let go of the lock of an update that was killed."""
        self.cli("cancel", "--yes")

    def recover(self) -> None:
        """Go on after an operation that was killed.

        Its lock is let go, and objects that it may have made without recording them are taken.

        Raises:
            StackError: an operation is still under way, or the state can't be read.
        """
        if holder := self._lock_holder():
            line = f"pulumi is at work on the stack {self.name} (process {holder}); wait for it"
            raise StackError(line, line)
        try:
            self.cancel()
            deployment = json.loads(self.cli("stack", "export"))["deployment"] or {}
        except StackError as error:
            reason = error.output.strip().splitlines()[-1].strip()
            line = f"the stack {self.name} can't be read ({reason}): run make down first"
            raise StackError(line, error.output) from None
        if deployment.get("pending_operations"):
            self._environment["PULUMI_K8S_UPSERT_EXISTING_OBJECTS"] = "true"

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in the clear."""
        return json.loads(self.cli("stack", "output", "--json", "--show-secrets"))

    def cli(self, *arguments: str, stdin: str = "") -> str:
        """What the CLI says to a command about this stack.

        Raises:
            StackError: the command failed.
        """
        with interrupt.deferred():
            self._select()
            return self._ask(*arguments, f"--stack={self.name}", stdin=stdin)

    def _ask(self, *arguments: str, stdin: str = "") -> str:
        command = self._command(*arguments)
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self._variables(),
            input=stdin,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise StackError(f"pulumi {' '.join(arguments)} failed: {done.stderr}", done.stderr)
        return done.stdout

    def _lock_holder(self) -> int | None:
        """The process on this machine that holds the stack's lock, if it runs."""
        locks = self._engine.state / ".pulumi" / "locks"
        for lock in locks.glob(f"*/*/{self.name}/*.json"):
            holder = json.loads(lock.read_text() or "{}").get("pid")
            if holder and Path(f"/proc/{holder}").exists():
                return holder
        return None

    def _run(self, verb: str, *options: str) -> str:
        """What the CLI says to an operation on this stack, which is printed as it comes."""
        said: list[str] = []
        step = progress.step(f"pulumi {verb} of the stack {self.name}")
        with step, interrupt.deferred():
            self._select()
            command = self._command(verb, *options, f"--stack={self.name}")
            with subprocess.Popen(
                command,
                cwd=self.directory,
                env=self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                for line in process.stdout or ():
                    said.append(line)
                    print(line.rstrip("\n"), flush=True)
            if process.returncode:
                line = f"pulumi {verb} of the stack {self.name} failed; why is said above"
                raise StackError(line, "".join(said))
        return "".join(said)

    def _select(self) -> None:
        """Have the stack: once, since each question takes the CLI's start."""
        if not self._selected:
            self._ask("stack", "select", "--create", self.name)
            self._selected = True

    def _command(self, *arguments: str) -> list[str]:
        command = ["pulumi", "--non-interactive", *arguments]
        return cgroup.inside("pulumi", *command) if self._engine.in_node else command

    def _variables(self) -> dict[str, str]:
        variables = {**os.environ, **self._environment}
        # The CLI asks the first Python for its version: version managers need half a second for it.
        path = os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]])
        return {**variables, "PATH": path}


def dev_config() -> dict[str, Any]:
    """The configuration of Pulumi.dev.yaml."""
    return stack_file.read(REPO / "Pulumi.dev.yaml").get("config", {})


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """*base* with *overrides* laid over it, map by map."""
    merged = dict(base)
    for key, value in overrides.items():
        both_maps = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both_maps else value
    return merged
