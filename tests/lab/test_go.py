"""A program in Go, by Pulumi's own language host."""

import shutil
from pathlib import Path

from lab import build, lifecycle
from tests.lab.projects import Project

PROGRAM = """\
package main

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		ctx.Export("stack", pulumi.String(ctx.Stack()))
		return nil
	})
}
"""


def test_a_program_in_go_runs_by_its_language_host(lab: lifecycle.Lab, tmp_path: Path) -> None:
    # Its packages are those of the CLI, which are compiled already.
    for name in ("go.mod", "go.sum"):
        shutil.copy(build.MODULES / "pulumi" / name, tmp_path)
    (tmp_path / "main.go").write_text(PROGRAM)
    (tmp_path / "Pulumi.yaml").write_text("{name: go, runtime: go}")
    project = Project.at(lab, tmp_path, GOFLAGS="-trimpath", CGO_ENABLED="0")
    assert project.up() == {"stack": "dev"}
    project.destroy()
