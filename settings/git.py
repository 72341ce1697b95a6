"""Git URLs, as BuildKit's Dockerfile frontend takes them for a build context.

https://docs.docker.com/build/concepts/context/#git-repositories
"""

import re
from typing import Annotated
from urllib.parse import parse_qsl

from settings.values import check, shown_as

_USER = r"([\w.%~-]+(:[^@/\s]*)?@)?"
_HOST = r"([\w.-]+|\[[0-9a-fA-F:.]+\])"
_AUTHORITY = rf"{_USER}{_HOST}(:\d{{1,5}})?"
_PATH = r"[^\s?#]*[^\s?#/]"
_REST = r"(\?(?P<query>[^\s#]+))?(#(?P<fragment>\S*))?"
_FORM = re.compile(
    # By HTTP a path is taken for a repository by its end only.
    rf"(https?://{_AUTHORITY}/{_PATH}\.git|https?://{_AUTHORITY}/\.git"
    # By SSH it takes the key of a client, and a Job has none.
    rf"|git://{_AUTHORITY}/{_PATH}){_REST}",
    re.ASCII,
)
_FLAGS = {"keep-git-dir", "submodules", "fetch-by-commit"}
_PARAMETERS = {"ref", "tag", "branch", "subdir", "checksum", "commit", "mtime"} | _FLAGS


def _is_git_url(value: str) -> bool:
    parts = _FORM.fullmatch(value)
    if not parts:
        return False
    query = parse_qsl(parts["query"] or "", keep_blank_values=True)
    names = [name for name, _ in query]
    empty = {name for name, given in query if not given}
    return {*names} <= _PARAMETERS and len({*names}) == len(names) and empty <= _FLAGS


GitUrl = Annotated[
    str,
    check(
        _is_git_url,
        "is no Git URL that a Job can clone; write it as https://HOST/PATH.git#REF:DIRECTORY or "
        "git://HOST/PATH (what is private opens by job.secrets.GIT_AUTH_TOKEN)",
    ),
    shown_as("Git URL"),
]
