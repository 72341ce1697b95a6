"""Projects of any of Pulumi's languages, each in a copy in which Pulumi may write."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pulumi import automation

from lab import lifecycle, providers
from lab.engine import values
from lab.paths import REPO

STACK = "dev"
# What the tools of a language, and Pulumi, put beside a project's own files.
_MADE = shutil.ignore_patterns(".venv", "venv", "bin", "node_modules", "sdks", "*.egg-info")


@dataclass(frozen=True)
class Project:
    """A stack of a project in a directory of its own."""

    lab: lifecycle.Lab
    directory: Path
    environment: Mapping[str, str]

    @classmethod
    def copied(cls, lab: lifecycle.Lab, source: Path, to: Path) -> "Project":
        """The project of the checkout's directory *source*, with what it refers to, in *to*."""
        for path in (source, REPO / "components"):
            shutil.copytree(path, to / path.relative_to(REPO), ignore=_MADE)
        if not lab.engine.official:
            providers.install_component(to / "components", sys.executable)
        return cls.at(lab, to / source.relative_to(REPO))

    @classmethod
    def at(cls, lab: lifecycle.Lab, directory: Path, **variables: str) -> "Project":
        """The project in a *directory*, with further environment *variables*."""
        kubeconfig = str(lab.node.kubeconfig)
        environment = {**lab.engine.environment, **variables, "KUBECONFIG": kubeconfig}
        return cls(lab, directory, environment)

    @property
    def settings(self) -> dict[str, Any]:
        """What its Pulumi.yaml says."""
        return yaml.safe_load((self.directory / "Pulumi.yaml").read_text())

    def up(self, **config: str | automation.ConfigValue) -> dict[str, Any]:
        """Install what it needs, and create what it describes; its outputs."""
        if self.lab.engine.official:
            self._run("pulumi", "install")
        else:
            self._install()
        stack = self._stack()
        for key, value in config.items():
            given = value if isinstance(value, automation.ConfigValue) else None
            stack.set_config(key, given or automation.ConfigValue(str(value)))
        return values(stack.up(on_output=print).outputs)

    def preview(self, **options: Any) -> None:
        """Say what `up` would do."""
        self._stack().preview(on_output=print, **options)

    def destroy(self) -> None:
        """Delete all of it."""
        self._stack().destroy(on_output=print, remove=True)

    def _install(self) -> None:
        """What `pulumi install` does; the hosts that the lab has are too old to be asked for it."""
        runtime = self.settings["runtime"]
        match runtime if isinstance(runtime, str) else runtime["name"]:
            case "python":
                # What it requires is there, and pip would take half a minute to find that out.
                (self.directory / ".venv").symlink_to(REPO / ".venv")
            case "nodejs":
                self._generate_sdks()
                self._run("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund")

    def _generate_sdks(self) -> None:
        for name, source in self.settings["packages"].items():
            schema = self._run(
                "pulumi", "package", "get-schema", f"{source}/pulumi-resource-{name}"
            )
            self._run("pulumi-gen-nodejs", f"sdks/{name}", input=schema)

    def _stack(self) -> automation.Stack:
        options = automation.LocalWorkspaceOptions(env_vars=self.environment)
        return automation.create_or_select_stack(STACK, work_dir=str(self.directory), opts=options)

    def run(self, *command: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in its directory."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env={**os.environ, **self.environment},
            input=input,
            capture_output=True,
            text=True,
        )

    def _run(self, *command: str, input: str | None = None) -> str:
        result = self.run(*command, input=input)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout
