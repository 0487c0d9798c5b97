"""Put the repository's root on the import path: `python data/NAME.py` starts with data/ alone."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import utils.startup  # noqa: F401 - as the scripts at the top
