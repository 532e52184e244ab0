"""Axis systems: every pair there and back, appearance kept, mirrors included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import pytest
import torch

from splats.formats import InMemory, View, collect, in_frame
from splats.formats.frames import FRAMES, check_frame, convert_gaussians, frame_matrix
from splats.gaussians import Gaussians
from splats.sh import sh_basis

from .scene_files import covariances, random_gaussians

ALL = [
    "".join(letters)
    for pairs in permutations(("RL", "UD", "FB"))
    for letters in product(*pairs)
]  # fmt: skip


def test_the_numbered_systems_are_sixteen_different_ones():
    assert len(set(FRAMES)) == 16 and set(FRAMES) <= set(ALL)
    assert FRAMES[6 - 1] == "RDF" and FRAMES[4 - 1] == "RUB" and FRAMES[7 - 1] == "LUF"


@pytest.mark.parametrize("target", ALL)
def test_appearance_moves_with_the_axes(target):
    """Covariances and colors in corresponding directions agree, which fixes quats and SH."""
    scene = random_gaussians(5, 4, seed=1)
    moved = convert_gaussians(scene, "RDF", target)
    matrix = frame_matrix("RDF", target)
    expected = matrix @ covariances(scene) @ matrix.T
    torch.testing.assert_close(covariances(moved), expected, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(moved.means, scene.means @ matrix.T.float())
    directions = torch.nn.functional.normalize(
        torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1
    )
    before = sh_basis(4, directions)[:, 1:] @ scene.shN.double()
    after = sh_basis(4, directions @ matrix.T)[:, 1:] @ moved.shN.double()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    back = convert_gaussians(moved, target, "RDF")
    torch.testing.assert_close(covariances(back), covariances(scene), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(back.shN, scene.shN, rtol=0, atol=1e-6)


@pytest.mark.parametrize("target", ["RUB", "LUF", "RUF", "LDB"])
def test_flips_return_the_same_bits(target):
    scene = random_gaussians(50, 4)
    back = convert_gaussians(convert_gaussians(scene, "RDF", target), target, "RDF")
    for name in ("means", "quats", "log_scales", "shN"):
        assert torch.equal(getattr(back, name), getattr(scene, name)), name


def test_flip_of_y_and_z_has_the_published_signs():
    """Signs of the SPZ library for degrees 1 to 3, and an even (4, 4) function."""
    ones = random_gaussians(1, 4)
    ones.shN[:] = 1
    signs = convert_gaussians(ones, "RDF", "RUB").shN[0, :, 0]
    x, y, z = 1, -1, -1
    expected = [y, z, x, x * y, y * z, 1, x * z, 1, y, x * y * z, y, z, x, z, x]
    expected += [x * y, y * z, x * y, y * z, 1, x * z, 1, x * z, 1]
    assert signs.tolist() == expected


def test_sources_convert_chunk_by_chunk():
    scene = random_gaussians(1000, 2)
    whole = collect(in_frame(InMemory(scene), "LFU"))
    parts = list(in_frame(_Streamed(InMemory(scene)), "LFU").chunks(300))
    assert [len(part) for part in parts] == [300, 300, 300, 100]
    torch.testing.assert_close(torch.cat([part.quats for part in parts]), whole.quats)
    torch.testing.assert_close(torch.cat([part.shN for part in parts]), whole.shN)


@dataclass(frozen=True)
class _Streamed(View):
    """A source that cannot be seen to be in memory."""

    frame: str = "RDF"

    def chunks(self, rows: int = 100) -> Iterator[Gaussians]:
        return self.source.chunks(rows)


@pytest.mark.parametrize("frame", ["", "RD", "RRF", "RUD", "XYZ", "RDFF"])
def test_names_of_no_system_are_refused(frame):
    with pytest.raises(ValueError, match="must name the directions"):
        check_frame(frame)


def test_small_letters_are_accepted():
    assert check_frame("rub") == "RUB"
