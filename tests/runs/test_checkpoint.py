"""Checkpoint files: complete or refused, and safe to open."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from runs import (
    Checkpoint,
    CheckpointError,
    CorruptCheckpointError,
    load_checkpoint,
    random_state,
    save_checkpoint,
)
from runs.files import replacing


def make_checkpoint(step: int = 3, **trainee: Any) -> Checkpoint:
    """A checkpoint with some state."""
    state = {"means": torch.arange(300.0), "name": "toy", "groups": [{"lr": 0.1}, None, (1, 2)]}
    return Checkpoint(step, 1.5, state | trainee, random_state())


def test_round_trip(tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    path = save_checkpoint(tmp_path, checkpoint)
    loaded = load_checkpoint(path)
    assert path.name == "step_00000003.pt"
    assert (loaded.step, loaded.elapsed) == (3, 1.5)
    assert torch.equal(loaded.trainee["means"], checkpoint.trainee["means"])
    assert loaded.trainee["groups"] == checkpoint.trainee["groups"]


def test_flipped_bits_are_noticed_or_harmless(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make_checkpoint())
    content = path.read_bytes()
    noticed = 0
    for position in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 16
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path)
        except CorruptCheckpointError as error:
            assert str(path) in str(error)
            noticed += 1
        else:  # the bit lay in the padding between two parts
            assert torch.equal(loaded.trainee["means"], torch.arange(300.0))
    assert noticed > 100


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, make_checkpoint())
    content = path.read_bytes()
    for length in range(0, len(content), 499):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptCheckpointError):
            load_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    path = tmp_path / "step_00000001.pt"
    torch.save({"schema": 1, "trainee": Attack()}, path)
    with pytest.raises(CorruptCheckpointError):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(CorruptCheckpointError):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()


def test_other_schema_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.pt"
    torch.save({"schema": 99}, path)
    with pytest.raises(CheckpointError, match="has checkpoint schema 99, this version reads 1"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(CorruptCheckpointError, match="not a checkpoint of a run"):
        load_checkpoint(path)


def test_newest_are_kept_and_abandoned_ones_go(tmp_path: Path) -> None:
    for step in (1, 2, 3, 9):
        save_checkpoint(tmp_path, make_checkpoint(step), keep=3)
    save_checkpoint(tmp_path, make_checkpoint(4), keep=3)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["step_00000002.pt", "step_00000003.pt", "step_00000004.pt"]


def test_unwritable_state_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_checkpoint(tmp_path, make_checkpoint(bad=lambda: None))
    assert list(tmp_path.iterdir()) == []


def test_failed_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
