"""The Pulumi that runs the program: the official one where it can be had, else the lab's own.

The official one is the CLI with its language host, and it installs the provider plugins by itself.
The lab's own is the CLI built from its Go module, the Automation API in place of the language
host, and `lab.providers` in place of the plugins.
"""

import importlib.metadata
import os
import runpy
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pulumi import automation

from lab import LabError, files, interrupt, progress, providers
from lab.paths import CACHE, REPO

PROJECT = "buildkit"
_LANGUAGE_HOST = "pulumi-language-python"
_DOWNLOADS = "get.pulumi.com"
_Result = TypeVar("_Result")


class StackError(LabError):
    """A Pulumi operation that failed, with all that it printed."""

    def __init__(self, line: str, output: str) -> None:
        super().__init__(line)
        self.output = output


class Engine:
    """A Pulumi CLI, its plugins, and a directory for its state."""

    def __init__(self, tools: Path, state: Path) -> None:
        """Find the official Pulumi, or set the lab's own up in *state*."""
        self.state = state
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
        ours = Path(sys.executable).parent  # buildkit-pod; last, since it has a Python too
        path = (self.official or self._own_plugins(), tools, os.environ["PATH"], ours)
        # The Automation API looks for the CLI on this process's own PATH.
        os.environ["PATH"] = self.environment["PATH"] = os.pathsep.join(map(str, path))

    def _own_plugins(self) -> Path:
        plugins = self.state / "plugins"
        providers.install(plugins, sys.executable)
        self.environment["PULUMI_HOME"] = str(self.state / "home")
        return plugins

    @cached_property
    def command(self) -> automation.PulumiCommand:
        """The CLI, which is asked for its version once."""
        return automation.PulumiCommand()

    @contextmanager
    def given(self, **variables: str) -> Iterator[None]:
        """Run with further environment *variables*, for stacks that are made while this lasts."""
        before = self.environment
        self.environment = {**before, **variables}
        try:
            yield
        finally:
            self.environment = before

    def __str__(self) -> str:
        """What runs the program, in one line."""
        return description(self.official)


def description(official: Path | None) -> str:
    """A Pulumi in one line: the one in a directory, or the lab's own."""
    if official:
        return f"Pulumi: the official CLI, language host and plugins, from {official}"
    version = importlib.metadata.version("pulumi")
    return (
        f"Pulumi: the lab's own (CLI {version} from its Go module, inline program, "
        "plugins of lab/providers)"
    )


def official_cli() -> Path | None:
    """The directory of a CLI with its language host: on the PATH, or installed if it can be."""
    host = shutil.which(_LANGUAGE_HOST)
    if host:
        return Path(host).parent
    installed = CACHE / "pulumi" / "bin"
    if not (installed / _LANGUAGE_HOST).exists() and _resolves(_DOWNLOADS):
        with progress.step("Pulumi's official CLI"):
            automation.PulumiCommand.install(root=str(installed.parent))
    return installed if (installed / _LANGUAGE_HOST).exists() else None


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


class Stack:
    """One stack of the program, in a project directory that Pulumi may write to.

    Pulumi writes to a stack's file, and the checkout's must not change: the directory has a copy
    of it, with the *overrides* merged in, and links to everything else.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        overrides: Mapping[str, Any] | None = None,
        kubeconfig: Path | None = None,
    ) -> None:
        """Take the configuration of Pulumi.dev.yaml with *overrides* by key."""
        self._engine = engine
        self.name = name
        self.directory = engine.state / "projects" / name
        self._environment = dict(engine.environment)
        if kubeconfig:
            self._environment["KUBECONFIG"] = str(kubeconfig)
        self._selected: automation.Stack | None = None
        self.configure(overrides or {})

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the program is given."""
        return yaml.safe_load(self._file.read_text())["config"]

    @property
    def _file(self) -> Path:
        return self.directory / f"Pulumi.{self.name}.yaml"

    def configure(self, overrides: Mapping[str, Any]) -> None:
        """Write the project directory; what Pulumi added to the stack's file is kept."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for file in ("__main__.py", "settings", "components", ".venv"):
            link = self.directory / file
            if not link.is_symlink():
                link.symlink_to(REPO / file)
        shutil.copyfile(REPO / "Pulumi.yaml", self.directory / "Pulumi.yaml")
        kept = (yaml.safe_load(self._file.read_text()) or {}) if self._file.exists() else {}
        dev = yaml.safe_load((REPO / "Pulumi.dev.yaml").read_text())
        config = merge(dev["config"], overrides)
        files.write(self._file, yaml.safe_dump({**kept, "config": config}, sort_keys=False))

    def up(self, **options: Any) -> automation.UpResult:
        """Create or update what the configuration says."""
        return self._run("up", lambda stack, say: stack.up(on_output=say, on_error=say, **options))

    def preview(self, **options: Any) -> automation.PreviewResult:
        """Say what `up` would do."""
        return self._run(
            "preview", lambda stack, say: stack.preview(on_output=say, on_error=say, **options)
        )

    def refresh(self) -> automation.RefreshResult:
        """Bring the state in line with the cluster."""
        return self._run("refresh", lambda stack, say: stack.refresh(on_output=say, on_error=say))

    def destroy(self) -> automation.DestroyResult:
        """Delete everything, and the stack."""
        result = self._run(
            "destroy", lambda stack, say: stack.destroy(on_output=say, on_error=say, remove=True)
        )
        self._selected = None
        return result

    def cancel(self) -> None:
        """Let go of the lock of an update that was killed."""
        with interrupt.deferred():
            self._select().cancel()

    def recover(self) -> None:
        """Go on after an operation that was killed, when no other can be under way.

        Its lock is let go, and objects that it may have made without recording them are taken.
        """
        try:
            with interrupt.deferred():
                stack = self._select()
                stack.cancel()
                deployment = stack.export_stack().deployment or {}
        except automation.CommandError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            line = f"the stack {self.name} can't be read ({reason}): run make down first"
            raise StackError(line, str(error)) from None
        if deployment.get("pending_operations"):
            self._environment["PULUMI_K8S_UPSERT_EXISTING_OBJECTS"] = "true"
            self._selected = None  # it has the environment of before

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in the clear."""
        with interrupt.deferred():
            return values(self._select().outputs())

    def cli(self, *arguments: str, stdin: str = "") -> str:
        """What the CLI says to a command about this stack.

        Raises:
            StackError: the command failed.
        """
        done = subprocess.run(
            ["pulumi", *arguments, f"--stack={self.name}"],
            cwd=self.directory,
            env={**os.environ, **self._environment},
            input=stdin,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise StackError(f"pulumi {' '.join(arguments)} failed: {done.stderr}", done.stderr)
        return done.stdout

    def _run(
        self, verb: str, operation: Callable[[automation.Stack, Callable[[str], Any]], _Result]
    ) -> _Result:
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            print(line.rstrip("\n"), flush=True)

        step = progress.step(f"pulumi {verb} of the stack {self.name}")
        with step, interrupt.deferred(), _variables(self._environment):
            try:
                return operation(self._select(), say)
            except automation.CommandError as error:
                output = "\n".join(said) or str(error)
                line = f"pulumi {verb} of the stack {self.name} failed; why is said above"
                raise StackError(line, output) from None

    def _select(self) -> automation.Stack:
        """The stack, made if there is none: once, since each question takes the CLI's start."""
        if not self._selected:
            self._selected = self._create_or_select()
        return self._selected

    def _create_or_select(self) -> automation.Stack:
        options = automation.LocalWorkspaceOptions(
            work_dir=str(self.directory),
            env_vars=self._environment,
            pulumi_command=self._engine.command,
        )
        if self._engine.official:
            return automation.create_or_select_stack(
                self.name, work_dir=str(self.directory), opts=options
            )
        return automation.create_or_select_stack(
            self.name, project_name=PROJECT, program=self._program, opts=options
        )

    def _program(self) -> None:
        """Run the program in this process, as the language host would in one of its own."""
        sys.path.insert(0, str(self.directory))
        try:
            runpy.run_path(str(self.directory / "__main__.py"), run_name="__main__")
        finally:
            sys.path.remove(str(self.directory))


def values(outputs: automation.OutputMap) -> dict[str, Any]:
    """A stack's outputs, secrets in the clear."""
    return {name: output.value for name, output in outputs.items()}


@contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Have an inline program meet the *environment* that the language host would give it."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """*base* with *overrides* laid over it, map by map."""
    merged = dict(base)
    for key, value in overrides.items():
        both_maps = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both_maps else value
    return merged
