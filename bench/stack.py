"""`pulumi up` or `destroy` of a stack on the lab, in a process of its own.

`python -m bench.stack up NAME '{"buildkit:KEY": …}'`
"""

import json
import sys

from lab import LabError, lifecycle


def main() -> None:
    """Do one operation."""
    verb, name, configuration = sys.argv[1:]
    lab = lifecycle.running()
    if lab is None:
        raise LabError("no lab of this checkout is running; start it with make up")
    stack = lab.stack(name, json.loads(configuration))
    stack.up() if verb == "up" else stack.destroy()


if __name__ == "__main__":
    main()
