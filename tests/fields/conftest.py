"""What tests of fields share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Random numbers do not depend on the tests before."""
    torch.manual_seed(0)
