"""`pulumi install` of a project that has the library's wheel, by the CLI and its language host."""

import subprocess
import sys

import pytest

from lab import lifecycle
from tests.lab.projects import Project
from tests.wheels import LIBRARY, wheel_of

SETTINGS = """\
name: wheel
runtime:
  name: python
  options:
    virtualenv: venv
"""
# No plugin can be downloaded.
OFFLINE = {"HTTPS_PROXY": "http://127.0.0.1:1"}


@pytest.fixture(scope="module")
def project(lab: lifecycle.Lab, tmp_path_factory: pytest.TempPathFactory) -> Project:
    directory = tmp_path_factory.mktemp("project")
    (directory / "Pulumi.yaml").write_text(SETTINGS)
    wheel = wheel_of(LIBRARY, tmp_path_factory.mktemp("wheel"))
    pip = ("venv/bin/python", "-I", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    for command in ((sys.executable, "-m", "venv", "venv"), (*pip, str(wheel))):
        subprocess.run(command, check=True, cwd=directory)
    # One name to Python and to Pulumi's host of today. The lab's host, of 3.78.1, looks for plugins
    # of packages with the hyphen only.
    (metadata,) = directory.glob("venv/lib/*/site-packages/pulumi_buildkit-*/METADATA")
    content = metadata.read_text()
    assert "\nName: pulumi_buildkit\n" in content
    metadata.write_text(content.replace("Name: pulumi_buildkit", "Name: pulumi-buildkit"))
    return Project.at(lab, directory, **OFFLINE)


def test_a_project_with_the_wheel_needs_no_plugin_of_it(project: Project) -> None:
    done = project.run("pulumi", "install", "--no-dependencies")
    assert done.returncode == 0, done.stderr


def test_without_its_pulumi_plugin_json_the_host_takes_the_wheel_for_a_provider_s(
    project: Project,
) -> None:
    (file,) = project.directory.glob("venv/lib/*/site-packages/pulumi_buildkit/pulumi-plugin.json")
    content = file.read_text()
    file.unlink()
    try:
        done = project.run("pulumi", "install", "--no-dependencies")
    finally:
        file.write_text(content)
    assert done.returncode != 0
    assert "failed to download plugin: buildkit-0.1.0" in done.stderr
