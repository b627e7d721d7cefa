"""The section verdicts of the configuration as it stands when nothing is said."""

from handhold import spec

VERDICTS = spec.schema()["properties"]["verdicts"]["properties"]
THRESHOLDS = {name: entry["default"] for name, entry in VERDICTS.items()}
