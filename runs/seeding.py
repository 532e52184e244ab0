"""One seed for every random generator, and the number of threads torch uses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (all devices).

    Args:
        seed: In [0, 2**32), the range that numpy accepts.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be in [0, 2**32), got {seed}.")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def set_num_threads(num_threads: int | None) -> int:
    """Let torch use `num_threads` threads (None: its own choice); returns the number in use."""
    if num_threads is not None:
        if num_threads < 1:
            raise ValueError(f"`num_threads` must be at least 1, got {num_threads}.")
        torch.set_num_threads(num_threads)
    return torch.get_num_threads()


def random_state() -> dict[str, Any]:
    """The state of every global generator, in types that `torch.load(weights_only=True)` reads."""
    _, keys, position, has_gauss, cached_gauss = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": {
            "keys": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached_gauss": float(cached_gauss),
        },
        "python": {
            "version": version,
            "internal": torch.tensor(internal, dtype=torch.int64),
            "gauss_next": gauss_next,
        },
    }


@contextmanager
def preserved_random_state() -> Iterator[dict[str, Any]]:
    """Give the state of every global generator and put it back at the end of the block.

    Around anything that is not training (saving, previews), so that it cannot change the result.
    """
    state = random_state()
    try:
        yield state
    finally:
        restore_random_state(state)


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every global generator back to where `random_state` found it.

    CUDA generators are restored only for the devices present here; exact resume on CUDA needs the
    same number of devices.
    """
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(generator, device)
    numpy = state["numpy"]
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state(
        ("MT19937", keys, numpy["position"], numpy["has_gauss"], numpy["cached_gauss"])
    )
    python = state["python"]
    random.setstate((python["version"], tuple(python["internal"].tolist()), python["gauss_next"]))
