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

from lab import lifecycle, providers
from lab.engine import Stack
from lab.paths import REPO

STACK = "dev"
# What the tools of a language, and Pulumi, put beside a project's own files.
_MADE = shutil.ignore_patterns(".venv", "venv", "bin", "node_modules", "sdks", "*.egg-info")


@dataclass(frozen=True)
class Project:
    """A stack of a project in a directory of its own."""

    lab: lifecycle.Lab
    directory: Path
    variables: Mapping[str, str]

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
        return cls(lab, directory, variables)

    @property
    def settings(self) -> dict[str, Any]:
        """What its Pulumi.yaml says."""
        return yaml.safe_load((self.directory / "Pulumi.yaml").read_text())

    @property
    def stack(self) -> Stack:
        """Its stack, in the directory."""
        lab = self.lab
        return Stack(lab.engine, STACK, self.directory, lab.node.kubeconfig, **self.variables)

    def up(self, **config: str) -> dict[str, Any]:
        """Install what it needs, and create what it describes; its outputs."""
        if self.lab.engine.official:
            self._run("pulumi", "install")
        else:
            self._install()
        stack = self.stack
        for key, value in config.items():
            secret = ["--secret"] if key == "kubeconfig" else []
            stack.cli("config", "set", *secret, key, stdin=value)
        stack.up()
        return stack.outputs()

    def destroy(self) -> None:
        """Delete all of it."""
        self.stack.destroy()

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

    def run(self, *command: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in its directory."""
        return subprocess.run(
            command,
            cwd=self.directory,
            env={**os.environ, **self.lab.engine.environment, **self.variables},
            input=input,
            capture_output=True,
            text=True,
        )

    def _run(self, *command: str, input: str | None = None) -> str:
        result = self.run(*command, input=input)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout
