"""BuildkitJob: the command line of a build, what it is given, and when it runs again."""

import csv
from itertools import pairwise
from typing import Any

import pulumi
import pytest
from pulumi_buildkit import BuildArgs, BuildkitJob, Security, default_image

from tests.contract.test_provider import construct
from tests.official_images import missing
from tests.recording import AUTO_NAME, Recording, record

VARIANTS = pytest.mark.parametrize("security", Security, ids=lambda security: security.value)
GIT = "https://git.example.com/team/app.git#4f2a1c9"
DOCKERFILE = {"Dockerfile": "FROM scratch\n"}


def make(build: BuildArgs | None = None, **args: Any) -> Recording:
    merged: Any = {"namespace": "build", "build": build or {"context": GIT}, **args}
    return record(lambda: BuildkitJob("app", merged))


def job(made: Recording) -> dict[str, Any]:
    return made.one("Job").inputs


def pod(made: Recording) -> dict[str, Any]:
    return job(made)["spec"]["template"]["spec"]


def container(made: Recording) -> dict[str, Any]:
    (only,) = pod(made)["containers"]
    return only


def environment(made: Recording) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(made)["env"]}


def values(made: Recording, flag: str) -> list[str]:
    """What buildctl is given for a flag, each time."""
    args = container(made)["args"]
    return [value for name, value in pairwise(args) if name == flag]


def mounted(made: Recording, directory: str) -> dict[str, Any]:
    """The volume that the container sees as *directory*."""
    (name,) = (m["name"] for m in container(made)["volumeMounts"] if m["mountPath"] == directory)
    (volume,) = (volume for volume in pod(made)["volumes"] if volume["name"] == name)
    return volume


def workspace(made: Recording) -> dict[str, str]:
    """The texts of the files that buildctl finds in its context, by their paths there."""
    (volume,) = (volume for volume in pod(made)["volumes"] if volume["name"] == "workspace")
    data = made.one("ConfigMap", volume["configMap"]["name"].removesuffix(AUTO_NAME)).inputs["data"]
    return {
        mount["mountPath"].removeprefix("/workspace/"): data[mount["subPath"]]
        for mount in container(made)["volumeMounts"]
        if mount["name"] == "workspace"
    }


# What is built


def test_a_git_repository_is_cloned_by_buildkitd() -> None:
    made = make({"context": GIT})
    assert values(made, "--opt") == [f"context={GIT}"]
    assert values(made, "--local") == []
    assert [config_map.name for config_map in made.of("ConfigMap")] == ["app-config"]


def test_inline_files_are_the_context_and_the_dockerfile_s_directory() -> None:
    files: Any = {**DOCKERFILE, "src/main.c": "int main;\n", ".dockerignore": "*.o\n"}
    made = make({"files": files})
    assert workspace(made) == files
    assert values(made, "--local") == ["context=/workspace", "dockerfile=/workspace"]
    assert values(made, "--opt") == []


def test_inline_files_are_files_and_not_the_links_of_a_mounted_config_map() -> None:
    mounts = container(make({"files": {**DOCKERFILE}}))["volumeMounts"]
    (mount,) = (mount for mount in mounts if mount["name"] == "workspace")
    assert mount["subPath"]
    assert mount["readOnly"]


def test_the_dockerfile_frontend_reads_it_by_default() -> None:
    assert values(make(), "--frontend") == ["dockerfile.v0"]
    made = make({"context": GIT, "frontend": "gateway.v0", "options": {"source": "x/y"}})
    assert values(made, "--frontend") == ["gateway.v0"]
    assert "source=x/y" in values(made, "--opt")


def test_the_dockerfile_its_stage_arguments_and_platforms_are_options() -> None:
    made = make(
        {
            "files": {"build/app.Dockerfile": "FROM scratch AS app\n"},
            "dockerfile": "build/app.Dockerfile",
            "target": "app",
            "build_args": {"VERSION": "1.2", "FLAGS": "-O2 -g"},
            "platforms": ["linux/amd64", "linux/arm64"],
        }
    )
    assert set(values(made, "--opt")) == {
        "filename=build/app.Dockerfile",
        "target=app",
        "build-arg:VERSION=1.2",
        "build-arg:FLAGS=-O2 -g",
        "platform=linux/amd64,linux/arm64",
    }


def test_a_dollar_reaches_the_build_as_it_is() -> None:
    made = make({"context": GIT, "build_args": {"PRICE": "$(DOCKER_CONFIG) $$5"}})
    (given,) = (value for value in values(made, "--opt") if value.startswith("build-arg:"))
    assert given == "build-arg:PRICE=$$(DOCKER_CONFIG) $$$$5"


@pytest.mark.parametrize(
    ("argument", "flag"),
    [("outputs", "--output"), ("cache_from", "--import-cache"), ("cache_to", "--export-cache")],
)
def test_each_output_and_cache_is_a_flag_of_its_own(argument: str, flag: str) -> None:
    first = {"type": "image", "name": "a.org/app:1,a.org/app:2", "push": "true"}
    second = {"type": "registry", "ref": 'a.org/"quoted"'}
    build: Any = {"context": GIT, argument: [first, second]}
    lines = values(make(build), flag)
    parsed = [dict(field.split("=", 1) for field in fields) for fields in csv.reader(lines)]
    assert parsed == [first, second]
    assert '"name=a.org/app:1,a.org/app:2"' in lines[0]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ({}, "context and files are missing"),
        ({"files": {}}, "context and files are missing"),
        ({"context": GIT, "files": DOCKERFILE}, "context and files are given both"),
        ({"files": {"/etc/passwd": ""}}, "'/etc/passwd' can't be mounted"),
        ({"files": {"../secret": ""}}, r"'\.\./secret' can't be mounted"),
        ({"files": {"a//b": ""}}, "'a//b' can't be mounted"),
        ({"files": {"a:b": ""}}, "'a:b' can't be mounted"),
        ({"files": {"": ""}}, "'' can't be mounted"),
        ({"files": {"a": "", "a/b": ""}}, "'a' can't be mounted"),
    ],
)
def test_a_context_that_can_t_be_built_is_refused(build: Any, reason: str) -> None:
    args: Any = {"namespace": "build", "build": build}
    with pytest.raises(ValueError, match=f"^app: build: (files: )?{reason}"):
        record(lambda: BuildkitJob("app", args))


# Secrets


SECRETS: BuildArgs = {
    "context": GIT,
    "secrets": {
        "npm": {"secret": "npm-login", "key": "token"},
        "GIT_AUTH_TOKEN": {"secret": "git-login", "key": "token"},
    },
    "registry_credentials": "registry-login",
}


def test_a_build_secret_is_a_file_that_buildctl_is_pointed_at() -> None:
    made = make(SECRETS)
    assert values(made, "--secret") == [
        "id=GIT_AUTH_TOKEN,src=/secrets/GIT_AUTH_TOKEN/git-login/token",
        "id=npm,src=/secrets/npm/npm-login/token",
    ]
    sources = [source["secret"] for source in mounted(made, "/secrets")["projected"]["sources"]]
    assert [(source["name"], source["items"]) for source in sources] == [
        ("git-login", [{"key": "token", "path": "GIT_AUTH_TOKEN/git-login/token"}]),
        ("npm-login", [{"key": "token", "path": "npm/npm-login/token"}]),
    ]


def test_registry_credentials_are_docker_s_own_configuration() -> None:
    made = make(SECRETS)
    secret = mounted(made, environment(made)["DOCKER_CONFIG"])["secret"]
    assert secret["secretName"] == "registry-login"
    assert secret["items"] == [{"key": ".dockerconfigjson", "path": "config.json"}]


def test_a_missing_secret_is_the_build_s_error_and_not_a_pod_that_never_starts() -> None:
    made = make(SECRETS)
    assert all(
        source["secret"]["optional"] for source in mounted(made, "/secrets")["projected"]["sources"]
    )
    assert mounted(made, "/docker")["secret"]["optional"]


def test_no_value_of_a_secret_is_in_the_environment() -> None:
    assert all(set(variable) == {"name", "value"} for variable in container(make(SECRETS))["env"])


@VARIANTS
def test_secrets_are_readable_for_the_build_alone(security: Security) -> None:
    made = make(SECRETS, daemon={"security": security})
    assert mounted(made, "/secrets")["projected"]["defaultMode"] == 0o440
    assert mounted(made, "/docker")["secret"]["defaultMode"] == 0o440
    group = pod(made).get("securityContext", {}).get("fsGroup", 0)
    assert group == container(made)["securityContext"].get("runAsUser", 0)


def test_what_is_secret_in_pulumi_stays_so() -> None:
    def program() -> None:
        build: Any = {"context": pulumi.Output.secret(GIT), "files": {}}
        BuildkitJob("app", {"namespace": "build", "build": build})

    secrets = record(program).one("Job").secrets
    assert [path for path in secrets if path.startswith("spec.template.spec.containers.0.args")]


# When it runs, how long, and what it says


def test_a_failed_build_tells_its_last_lines() -> None:
    made = make()
    assert container(made)["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert values(made, "--progress") == ["plain"]
    assert pod(made)["restartPolicy"] == "Never"


def test_a_failed_build_runs_again_in_the_next_update() -> None:
    assert job(make())["metadata"]["annotations"]["pulumi.com/replaceUnready"] == "true"


def test_the_next_job_is_there_before_the_last_one_goes() -> None:
    made = make({"files": {**DOCKERFILE}})
    assert [r.name for r in made.of("ConfigMap") if "name" in r.inputs["metadata"]] == []
    assert "name" not in job(made)["metadata"]


def test_changed_files_are_another_config_map_and_so_another_job() -> None:
    # An immutable one is replaced where the provider would change others in place.
    assert make({"files": {**DOCKERFILE}}).one("ConfigMap", "app-files").inputs["immutable"] is True


def test_the_order_in_which_another_language_sends_its_maps_is_no_change() -> None:
    maps: dict[str, Any] = {
        "files": {"Dockerfile": "FROM scratch\n", "a": "1", "b": "2"},
        "build_args": {"A": "1", "B": "2"},
        "options": {"label:a": "1", "label:b": "2"},
        "outputs": [{"type": "image", "name": "a.org/app", "push": "true"}],
        "secrets": {"a": {"secret": "s", "key": "a"}, "b": {"secret": "s", "key": "b"}},
    }
    turned: Any = {
        name: [dict(reversed(value[0].items()))]
        if isinstance(value, list)
        else dict(reversed(value.items()))
        for name, value in maps.items()
    }
    same: Any = maps
    assert job(make(turned)) == job(make(same))


def test_a_build_is_tried_once_and_has_an_hour() -> None:
    spec = job(make())["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 3600)


def test_the_job_stays_by_default() -> None:
    assert "ttlSecondsAfterFinished" not in job(make())["spec"]
    assert job(make(ttl=600))["spec"]["ttlSecondsAfterFinished"] == 600


@pytest.mark.parametrize("deadline", [3600, 7200])
def test_an_update_waits_for_longer_than_the_build_may_take(deadline: int) -> None:
    timeouts = make(deadline=deadline).one("Job").request.customTimeouts
    assert timeouts.create == timeouts.update == f"{deadline + 120}s"


def test_a_drained_node_is_no_failed_build() -> None:
    (rule,) = job(make())["spec"]["podFailurePolicy"]["rules"]
    assert rule == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }


# Its buildkitd


def test_rootless_is_the_default() -> None:
    assert job(make()) == job(make(daemon={"security": Security.ROOTLESS}))


@VARIANTS
def test_the_image_is_the_official_one_of_the_variant(security: Security) -> None:
    made = container(make(daemon={"security": security}))
    assert (made["image"], made["command"]) == (
        default_image(security),
        ["buildctl-daemonless.sh"],
    )


@VARIANTS
def test_only_rootless_does_without_privileges_and_a_process_sandbox(security: Security) -> None:
    made = make(daemon={"security": security})
    rootless = security is Security.ROOTLESS
    assert container(made)["securityContext"].get("privileged", False) is not rootless
    flags = environment(made)["BUILDKITD_FLAGS"].split()
    assert ("--oci-worker-no-process-sandbox" in flags) is rootless


@VARIANTS
def test_only_userns_asks_the_kubelet_for_a_user_namespace(security: Security) -> None:
    host_users = pod(make(daemon={"security": security})).get("hostUsers")
    assert host_users is (False if security is Security.USERNS else None)


@VARIANTS
def test_build_steps_stay_within_the_pod_s_cgroup(security: Security) -> None:
    # What a privileged container sees of cgroups is the node's, until the entry point hides it.
    made = make(daemon={"security": security})
    started = environment(made)["BUILDKITD"]
    rootless = security is Security.ROOTLESS
    assert started == ("buildkitd" if rootless else "buildkitd-entrypoint")
    assert not missing(container(made)["image"], [started])


@VARIANTS
def test_the_cache_is_where_the_image_keeps_it(security: Security) -> None:
    data = {Security.ROOTLESS: "/home/user/.local/share/buildkit"}
    directory = data.get(security, "/var/lib/buildkit")
    assert "emptyDir" in mounted(make(daemon={"security": security}), directory)


def test_buildkitd_reads_the_configuration_that_is_mounted() -> None:
    registries = {"registry:5000": {"http": True}}
    made = make(daemon={"registries": registries})
    flags = environment(made)["BUILDKITD_FLAGS"].split()
    directory = flags[flags.index("--config") + 1].removesuffix("/buildkitd.toml")
    assert mounted(made, directory)["configMap"]["name"].startswith("app-config-")
    toml = made.one("ConfigMap", "app-config").inputs["data"]["buildkitd.toml"]
    assert toml == '[registry."registry:5000"]\nhttp = true\n'


def test_a_loaded_node_has_time_to_start_buildkitd() -> None:
    retries = int(environment(make())["BUILDCTL_CONNECT_RETRIES_MAX"])
    # As the script counts them.
    assert sum(0.1 + 0.02 * at for at in range(retries)) > 30


def test_resources_are_the_container_s() -> None:
    resources = {"limits": {"memory": "4Gi"}}
    assert container(make(daemon={"resources": resources}))["resources"] == resources


def test_an_overlay_is_laid_over_the_pod() -> None:
    overlay = {"spec": {"nodeSelector": {"disk": "fast"}, "priorityClassName": "ci"}}
    made = pod(make(daemon={"pod": overlay}))
    assert (made["nodeSelector"], made["priorityClassName"]) == (
        {"kubernetes.io/os": "linux", "disk": "fast"},
        "ci",
    )
    assert made["containers"]


def test_no_service_of_the_same_name_finds_its_pod() -> None:
    made = job(make())
    assert made["spec"]["template"]["metadata"]["labels"]["app"] != "app"


def test_the_output_is_what_kubectl_calls_it() -> None:
    assert make().outputs_of("BuildkitJob").values == {"workload": f"job/app{AUTO_NAME}"}


def test_a_hosted_job_takes_what_another_language_sends() -> None:
    made = construct(
        "BuildkitJob",
        namespace="build",
        build={
            "files": {"Dockerfile": "FROM scratch\n", "some_file": "x", "otherFile": "y"},
            "buildArgs": {"SOME_ARG": "1", "camelCase": "2"},
            "platforms": ["linux/amd64"],
            "outputs": [{"type": "image", "name": "a.org/app", "push": "true"}],
            "cacheFrom": [{"type": "registry", "ref": "a.org/cache"}],
            "secrets": {"some_id": {"secret": "login", "key": "token"}},
            "registryCredentials": "registry-login",
        },
        daemon={"security": "userns", "maxParallelism": 4.0},
        backoffLimit=2.0,
        deadline=60.0,
        ttl=30.0,
    )
    spec = job(made)["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (2, 60)
    assert spec["ttlSecondsAfterFinished"] == 30
    assert made.one("Job").request.customTimeouts.create == "180s"
    assert pod(made)["hostUsers"] is False
    assert sorted(workspace(made)) == ["Dockerfile", "otherFile", "some_file"]
    assert {"build-arg:SOME_ARG=1", "build-arg:camelCase=2"} <= set(values(made, "--opt"))
    assert values(made, "--import-cache") == ["ref=a.org/cache,type=registry"]
    assert values(made, "--secret") == ["id=some_id,src=/secrets/some_id/login/token"]
    assert mounted(made, "/docker")["secret"]["secretName"] == "registry-login"
