"""Published networks with their counts and scores, as recorded for the paper and its code."""

import json
from pathlib import Path

_HERE = Path(__file__).parent
PUBLISHED = json.loads((_HERE / "published.json").read_text())
BASELINES = json.loads((_HERE / "baselines.json").read_text())
COMPARED = json.loads((_HERE / "compared.json").read_text())
