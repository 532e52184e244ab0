"""Comparisons of points with a curve of rate and distortion."""

from __future__ import annotations

import pytest

from benchmarks.compact_curves import bytes_at, psnr_at
from benchmarks.compact_runs import Scored

CURVE = [Scored(psnr, 0.9, num_bytes, 1) for psnr, num_bytes in ((30.0, 400), (28.0, 100))]


@pytest.mark.parametrize("psnr", [28.0, 28.7, 29.0, 30.0])
def test_bytes_and_psnr_are_inverse_along_a_curve(psnr: float) -> None:
    """Straight lines over the logarithm of bytes."""
    found = bytes_at(CURVE, psnr)
    assert found is not None
    assert psnr_at(CURVE, found) == pytest.approx(psnr)


def test_nothing_is_extrapolated() -> None:
    assert (
        bytes_at(CURVE, 30.1) is None and psnr_at(CURVE, 401) is None and psnr_at(CURVE, 99) is None
    )
    assert bytes_at(CURVE, 20.0) == 100  # the smallest file does
    assert bytes_at(CURVE, 29.0) == pytest.approx(200)
