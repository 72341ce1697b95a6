"""Where the lab keeps what it builds once (CACHE) and what lives as long as the node (STATE)."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "buildkit-lab"
STATE = Path("/var/lib/buildkit-lab")
