"""Published networks with their counts and scores, as recorded for the paper and its code."""

import json
from pathlib import Path

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())
