"""Projects of any of Pulumi's languages, each in a copy in which Pulumi may write.

Where its language hosts can't be had, programs in Python and TypeScript are inline programs of the
Automation API, and the component provider is started here; Pulumi YAML has its own host anywhere.
"""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pulumi import automation

from lab import build, lifecycle, providers
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
        tools = build.tools(build.LANGUAGES)
        environment = {
            **lab.engine.environment,
            "PATH": f"{tools}{os.pathsep}{lab.engine.environment['PATH']}",
            "KUBECONFIG": str(lab.node.kubeconfig),
        }
        if not lab.engine.official:
            providers.install_component(to / "components", "buildkit", sys.executable)
        return cls(lab, to / source.relative_to(REPO), environment)

    @property
    def settings(self) -> dict[str, Any]:
        """What its Pulumi.yaml says."""
        return yaml.safe_load((self.directory / "Pulumi.yaml").read_text())

    def up(self, **config: str | automation.ConfigValue) -> dict[str, Any]:
        """Install what it needs, and create what it describes; its outputs."""
        stack = self._stack()
        for key, value in config.items():
            given = value if isinstance(value, automation.ConfigValue) else None
            stack.set_config(key, given or automation.ConfigValue(str(value)))
        if self.lab.engine.official:
            self._run("pulumi", "install")
            stack.up(on_output=print)
        else:
            self._up(stack)
        return values(stack.outputs())

    def preview(self, **options: Any) -> None:
        """Say what `up` would do, of a project in Pulumi YAML."""
        self._stack().preview(on_output=print, **options)

    def destroy(self) -> None:
        """Delete all of it."""
        self._stack().destroy(on_output=print, remove=True)

    def _up(self, stack: automation.Stack) -> None:
        runtime = self.settings["runtime"]
        match runtime if isinstance(runtime, str) else runtime["name"]:
            case "yaml":
                stack.up(on_output=print)
            case "python":
                with _imports(self.directory):
                    self._stack(self._program).up(on_output=print)
            case "nodejs":
                self._generate_sdks()
                self._run("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund")
                self._run("npx", "tsc")
                inline = Path(__file__).parent / "inline.js"
                self._run("node", str(inline), self.settings["name"], STACK, "bin/index.js")

    def _program(self) -> None:
        runpy.run_path(str(self.directory / "__main__.py"), run_name="__main__")

    def _generate_sdks(self) -> None:
        """What `pulumi install` does for the packages of a project."""
        for name, source in self.settings["packages"].items():
            schema = self._run(
                "pulumi", "package", "get-schema", f"{source}/pulumi-resource-{name}"
            )
            self._run("pulumi-gen-nodejs", f"sdks/{name}", input=schema)

    def _stack(self, program: Callable[[], None] | None = None) -> automation.Stack:
        options = automation.LocalWorkspaceOptions(
            work_dir=str(self.directory), env_vars=self.environment
        )
        if program is None:
            return automation.create_or_select_stack(
                STACK, work_dir=str(self.directory), opts=options
            )
        name = self.settings["name"]
        return automation.create_or_select_stack(
            STACK, project_name=name, program=program, opts=options
        )

    def _run(self, *command: str, input: str | None = None) -> str:
        result = subprocess.run(
            command,
            cwd=self.directory,
            env={**os.environ, **self.environment},
            input=input,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout


@contextmanager
def _imports(directory: Path) -> Iterator[None]:
    """Have a program import the modules beside it, and nobody else those after it."""
    before = set(sys.modules)
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        for name in set(sys.modules) - before:
            if str(directory) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
