"""A build that there is enough to run."""

from collections.abc import Iterator

from settings.job import JobSettings
from settings.mistakes import Mistake
from settings.rules.rule import Rule
from settings.stack import Settings

# What the API server takes as one object, with room for all that is not the files.
_MOST = 1_000_000

_CONTEXTS = {
    False: "has neither context nor files; give one of them: what to build",
    True: "has both context and files; take one of them away",
}
_OUTPUTS = ("image", "local", "tar", "oci", "docker")
_CACHES = ("registry", "local", "inline", "gha", "s3", "azblob")
# What an entry of each type can't do without; the rest is as buildctl has it.
_NEEDED = {
    "outputs": {"local": "dest", "tar": "dest", "oci": "dest", "docker": "dest"},
    "cacheFrom": {"registry": "ref", "local": "src"},
    "cacheTo": {"registry": "ref", "local": "dest"},
}
_TYPES = {"outputs": _OUTPUTS, "cacheFrom": _CACHES, "cacheTo": _CACHES}


def _context(settings: Settings) -> Iterator[Mistake]:
    job = settings.job
    if job and bool(job.context) is bool(job.files):
        yield Mistake(("job",), _CONTEXTS[bool(job.files)])


def _dockerfile(settings: Settings) -> Iterator[Mistake]:
    job = settings.job
    if job and job.files and job.frontend == "dockerfile.v0" and job.dockerfile not in job.files:
        yield Mistake(
            ("job", "files"),
            f"lacks {job.dockerfile}; write it below, or name the Dockerfile as job.dockerfile",
        )


def _files(settings: Settings) -> Iterator[Mistake]:
    files = settings.job.files if settings.job else {}
    for path in files:
        parents = [parent for parent in files if path.startswith(f"{parent}/")]
        if parents:
            yield Mistake(
                ("job", "files", path),
                f"is in {parents[0]}, which is a file too; rename one of them",
            )
    size = sum(len(text.encode()) for text in files.values())
    if size > _MOST:
        yield Mistake(
            ("job", "files"),
            f"has {size} bytes in all, and a ConfigMap takes {_MOST}; build a Git repository",
        )


def _entries(settings: Settings) -> Iterator[Mistake]:
    for key, entries in _attributes(settings.job).items():
        for at, entry in enumerate(entries):
            place = ("job", key, at)
            kind = entry.get("type")
            needed = _NEEDED[key].get(kind or "")
            if kind is None:
                yield Mistake((*place, "type"), f"is missing; take {', '.join(_TYPES[key])}")
            elif kind not in _TYPES[key]:
                yield Mistake(
                    (*place, "type"), f"is none of its values; take {', '.join(_TYPES[key])}", kind
                )
            elif needed and not entry.get(needed):
                yield Mistake((*place, needed), f"is missing, and type is {kind}; write it")


def _pushed(settings: Settings) -> Iterator[Mistake]:
    for at, entry in enumerate(settings.job.outputs if settings.job else ()):
        if entry.get("push") == "true" and not entry.get("name"):
            yield Mistake(
                ("job", "outputs", at, "name"),
                "is missing, and push is true; write it as REGISTRY/NAME:TAG",
            )


def _frontend(settings: Settings) -> Iterator[Mistake]:
    job = settings.job
    if job and job.frontend == "gateway.v0" and "source" not in job.options:
        yield Mistake(
            ("job", "options", "source"),
            "is missing, and frontend is gateway.v0; name the frontend's image",
        )


def _attributes(job: JobSettings | None) -> dict[str, list[dict[str, str]]]:
    if job is None:
        return {}
    return {"outputs": job.outputs, "cacheFrom": job.cache_from, "cacheTo": job.cache_to}


RULES = (
    Rule(("job.context", "job.files"), _context),
    Rule(("job.files", "job.frontend", "job.dockerfile"), _dockerfile),
    Rule(("job.files",), _files),
    Rule(("job.outputs", "job.cacheFrom", "job.cacheTo"), _entries),
    Rule(("job.outputs",), _pushed),
    Rule(("job.frontend", "job.options"), _frontend),
)
