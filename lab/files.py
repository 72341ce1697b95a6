"""Files that are whole or as they were: not cut off by an interruption or a full disk."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file under another name and give it its own when all of it is there."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(made, mode)
        os.replace(made, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(made)
        raise
