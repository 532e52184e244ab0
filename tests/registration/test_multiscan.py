"""Sets of scans: poses, contradictions, disconnected sets, unsure pairs, bad input, the verb."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from registration import register_many
from registration.averaging import so3
from registration.merged_cloud import thin, write_cloud
from registration.multiscan import default_pairs


@dataclass
class Found:
    """What a pairwise registration returns."""

    T_target_source: np.ndarray
    converged: bool = True
    overlap: float = 0.5


class Oracle:
    """Registers scans, which are arrays whose first point is their number, by known poses."""

    def __init__(self, count: int, *, noise: float = 0.0, scale: bool = False, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.poses = np.tile(np.eye(4), (count, 1, 1))
        scales = np.exp(rng.normal(size=count) * scale)
        self.poses[:, :3, :3] = scales[:, None, None] * so3.random(count, rng)
        self.poses[:, :3, 3] = 3 * rng.normal(size=(count, 3))
        self.wrong: set[tuple[int, int]] = set()
        self.unsure: set[tuple[int, int]] = set()
        self.noise, self.rng, self.calls = noise, rng, 0
        self.scans = [np.concatenate([[[float(n)] * 3], rng.normal(size=(50, 3))])
                      for n in range(count)]  # fmt: skip

    def __call__(self, source: np.ndarray, target: np.ndarray) -> Found:
        self.calls += 1
        s, t = int(source[0, 0]), int(target[0, 0])
        pose = np.linalg.inv(self.poses[t]) @ self.poses[s]
        pose[:3, :3] = so3.exp(self.noise * self.rng.normal(size=3)) @ pose[:3, :3]
        pose[:3, 3] += self.noise * self.rng.normal(size=3)
        pair = (min(s, t), max(s, t))
        if pair in self.wrong:
            pose[:3, :3] = so3.random(1, self.rng)[0]
            pose[:3, 3] = 5 * self.rng.normal(size=3)
        return Found(pose, pair not in self.unsure)

    def expected(self, reference: int = 0) -> np.ndarray:
        return np.linalg.inv(self.poses[reference]) @ self.poses


@pytest.mark.parametrize("scale", [False, True])
def test_exact_pairs_give_exact_poses(scale: bool) -> None:
    oracle = Oracle(5, scale=scale)
    found = register_many(oracle.scans, registrar=oracle, with_scale=scale)
    assert found.converged and found.reference == 0
    assert np.allclose(found.T_world_scan, oracle.expected(), atol=1e-6)
    assert all(pair.used and pair.verified for pair in found.pairs)
    assert len(found.cycles.errors) == 10 and found.cycles.errors.max() < 1e-6


def test_wrong_pairs_that_claim_success_are_left_out() -> None:
    oracle = Oracle(6, noise=0.003)
    oracle.wrong = {(0, 1), (2, 5), (3, 4)}
    found = register_many(oracle.scans, registrar=oracle)
    assert found.converged
    named = {(p.target, p.source) for p in found.pairs if not p.used}
    assert named == oracle.wrong
    off = np.linalg.inv(oracle.expected()) @ found.T_world_scan
    assert np.degrees(so3.angles(off[:, :3, :3], np.eye(3)[None])).max() < 1.0
    assert np.linalg.norm(off[:, :3, 3], axis=1).max() < 0.1


def test_parts_without_connection_are_not_called_aligned() -> None:
    oracle = Oracle(6)
    oracle.unsure = {(a, b) for a in range(6) for b in range(6) if (a < 2) != (b < 2)}
    oracle.wrong = set(oracle.unsure)
    found = register_many(oracle.scans, registrar=oracle)
    assert not found.converged
    assert found.aligned.tolist() == [False, False, True, True, True, True]
    assert found.reference == 2
    assert np.allclose(found.T_world_scan[2:], oracle.expected(2)[2:], atol=1e-6)
    assert np.array_equal(found.T_world_scan[0], np.eye(4))


def test_two_unsure_pairs_that_agree_bring_a_scan_in() -> None:
    oracle = Oracle(4, noise=0.002)
    oracle.unsure = {(0, 3), (1, 3), (2, 3)}
    oracle.wrong = {(1, 3)}
    found = register_many(oracle.scans, registrar=oracle)
    assert found.converged
    assert {(p.target, p.source) for p in found.pairs if not p.used} == {(1, 3)}
    oracle.wrong = {(1, 3), (2, 3)}  # only one is right: nothing confirms it
    assert register_many(oracle.scans, registrar=oracle).aligned.tolist() == [True] * 3 + [False]


def test_a_chain_is_aligned_but_not_verified() -> None:
    oracle = Oracle(4)
    found = register_many(oracle.scans, registrar=oracle, pairs=[(1, 0), (2, 1), (3, 2)])
    assert found.converged and oracle.calls == 3
    assert not any(pair.verified for pair in found.pairs)


def test_many_scans_take_neighbors_then_what_connects() -> None:
    oracle = Oracle(20, noise=0.002)
    apart = {(a, b) for a in range(20) for b in range(20) if (a < 10) != (b < 10)}
    oracle.unsure = oracle.wrong = apart - {(9, 12), (8, 13)}
    found = register_many(oracle.scans, registrar=oracle)
    assert found.converged
    assert oracle.calls < 190  # not all pairs
    pairs = default_pairs(20)
    assert len(pairs) == len(set(pairs)) == 19 + 18 + 16 + 12 + 4


def test_one_scan_two_scans_and_none() -> None:
    oracle = Oracle(2)
    alone = register_many(oracle.scans[:1], registrar=oracle)
    assert alone.converged and np.array_equal(alone.T_world_scan, np.eye(4)[None])
    assert register_many(oracle.scans, registrar=oracle).converged
    oracle.unsure = {(0, 1)}
    assert register_many(oracle.scans, registrar=oracle).aligned.tolist() == [False, False]
    with pytest.raises(ValueError, match="at least one scan"):
        register_many([], registrar=oracle)


def test_duplicate_pairs_are_registered_once_and_bad_ones_refused() -> None:
    oracle = Oracle(3)
    register_many(oracle.scans, registrar=oracle, pairs=[(1, 0), (1, 0), (2, 1)])
    assert oracle.calls == 2
    for bad in ((0, 0), (0, 3), (-1, 0)):
        with pytest.raises(ValueError, match="two different scans"):
            register_many(oracle.scans, registrar=oracle, pairs=[bad])


def test_a_registrar_that_returns_nan_is_named() -> None:
    oracle = Oracle(2)
    with pytest.raises(ValueError, match="scans 1 and 0"):
        register_many(oracle.scans, registrar=lambda s, t: Found(np.full((4, 4), np.nan)))


def test_merged_clouds_are_thinned_and_not_overwritten(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(0, 1, (5000, 3))
    few, chosen = thin(points, 0.25)
    assert len(few) == 64 and np.array_equal(points[chosen], few)
    colors = np.full((64, 3), 7, np.uint8)
    path = write_cloud(tmp_path / "out.ply", [few], [colors], overwrite=False)
    from captures.point_ply import read_point_ply

    again = read_point_ply(path)
    assert np.allclose(again.positions.numpy(), few, atol=1e-6)
    assert np.allclose(again.colors.numpy(), 7 / 255)
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_cloud(path, [few], [colors], overwrite=False)
    with pytest.raises(ValueError, match=r"as \.ply"):
        write_cloud(tmp_path / "out.xyz", [few], [colors], overwrite=False)
    with pytest.raises(ValueError, match="voxel"):
        thin(points, 0.0)


def test_verb_registers_real_scans(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("registration.pairwise", reason="pairwise registration is not installed")
    from scripts.main import main

    folder = shared_data / "registration" / "3dmatch_redkitchen_0_4_6"
    scans = sorted(folder.glob("*.ply"))
    out = tmp_path / "kitchen.ply"
    assert main(["register", *map(str, scans), str(out), "--voxel", "0.02", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["aligned"] is True and out.is_file()
    assert set(summary["T_world_scan"]) == {str(scan) for scan in scans}
    truth = json.loads((folder / "gt.json").read_text())
    assert truth and len(summary["T_world_scan"][str(scans[0])]) == 4
    assert main(["register", str(scans[0]), str(out)]) == 1
    assert "two scans or more" in capsys.readouterr().err


def test_a_small_disagreement_in_one_triangle_is_noise() -> None:
    oracle = Oracle(3)
    bent = np.eye(4)
    bent[:3, :3] = so3.exp(np.radians([0.5, 0, 0]))

    def registrar(source: np.ndarray, target: np.ndarray) -> Found:
        found = oracle(source, target)
        if {int(source[0, 0]), int(target[0, 0])} == {0, 2}:
            found.T_target_source = found.T_target_source @ bent
        return found

    found = register_many(oracle.scans, registrar=registrar)
    assert all(pair.used and pair.verified for pair in found.pairs)
    assert max(np.degrees(pair.rotation_residual) for pair in found.pairs) < 0.3
