"""The `fieldwright` command: one thin module per verb."""

import os
import time

# torch's OpenMP threads otherwise spin for a while after each operation, on the cores that the
# native kernels' own threads want next. Read when torch is imported, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

STARTED_AT = time.monotonic()
"""Start of the process on the monotonic clock, so that `--max-seconds` counts the start-up."""
