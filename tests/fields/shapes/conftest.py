"""Shapes that several model tests share."""

from __future__ import annotations

import pytest

from fields.shapes.procedural import procedural_samples
from fields.shapes.samples import ShapeSamples
from fields.shapes.sampling import Counts


@pytest.fixture(scope="session")
def shapes() -> list[ShapeSamples]:
    """A few small procedural shapes."""
    counts = Counts(surface=3000, sharp=300, near=1500, volume=2500)
    return [procedural_samples(seed, counts=counts, resolution=24) for seed in (1, 2, 4, 6)]
