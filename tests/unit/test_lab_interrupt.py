import subprocess
import sys

from lab.paths import REPO

IN_A_FINALIZER = """
import signal, time, lab

# As in a terminal, also where whoever runs the tests ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Response:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

Response()
time.sleep(60)
"""


def test_ctrl_c_in_a_finalizer_ends_the_command_as_anywhere_else() -> None:
    command = [sys.executable, "-c", IN_A_FINALIZER]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0
    assert ended.stderr == "lab: interrupted; the next make up or make down goes on from here\n"
