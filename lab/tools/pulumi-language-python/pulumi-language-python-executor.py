"""Runs a program by the SDK's own script, and ends it without a word when the CLI says so.

The CLI ends a host and its program by the signal of Ctrl-C, of which Python makes a traceback.
"""

import os
import runpy
import signal
from pathlib import Path

signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
upstream = Path(__file__).with_name("pulumi-language-python-exec")
runpy.run_path(str(upstream), run_name="__main__")
