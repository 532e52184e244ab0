"""The `fieldwright` command: one thin module per verb."""

import time

STARTED_AT = time.monotonic()
"""Start of the process on the monotonic clock, so that `--max-seconds` counts the start-up."""
