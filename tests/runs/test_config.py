"""Configurations survive JSON, and bad JSON names the field."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from runs import config_from_json, config_to_json


class Color(enum.Enum):
    """A choice."""

    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Default:
    """One strategy."""

    every: int = 100
    """Steps."""


@dataclass(frozen=True)
class Mcmc:
    """Another strategy with the same field."""

    every: int = 50
    """Steps."""


@dataclass(frozen=True)
class Config:
    """Everything a configuration may hold."""

    data: Path
    """A path."""
    rate: float = 1.0
    """A number."""
    limit: int | None = None
    """Perhaps a number."""
    strategy: Default | Mcmc = field(default_factory=Default)
    """A choice of dataclasses."""
    mode: Literal["fast", "exact"] = "fast"
    """A choice of words."""
    color: Color = Color.RED
    """A choice of members."""
    sizes: tuple[int, ...] = (1, 2)
    """A list."""
    names: dict[str, float] = field(default_factory=dict)
    """Named numbers."""


def test_round_trip_through_text() -> None:
    config = Config(Path("a/b"), 2.0, 7, Mcmc(9), "exact", Color.BLUE, (3, 4, 5), {"x": 0.1 + 0.2})
    assert config_from_json(Config, json.loads(json.dumps(config_to_json(config)))) == config


def test_absent_fields_take_defaults() -> None:
    assert config_from_json(Config, {"data": "x", "rate": 3}) == Config(Path("x"), 3.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": "fast"}, r"config\.rate must be a float, got 'fast' \(str\)"),
        ({"rate": True}, r"config\.rate must be a float, got True \(bool\)"),
        ({"speed": 1}, r"config has unknown fields \['speed'\]"),
        ({"mode": "slow"}, r"config\.mode must be one of \['fast', 'exact'\], got 'slow'"),
        ({"color": "GREEN"}, r"config\.color must be one of \['RED', 'BLUE'\]"),
        ({"sizes": [1, "x"]}, r"config\.sizes\[1\] must be a int"),
        ({"strategy": {"$type": "Mcmc", "every": 0.5}}, r"config\.strategy\.every must be a int"),
        ({"limit": "no"}, r"config\.limit must be one of"),
    ],
)
def test_bad_values_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_from_json(Config, {"data": "x"} | change)


def test_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"config lacks the fields \['data'\] of Config"):
        config_from_json(Config, {})


def test_only_plain_finite_values_are_written() -> None:
    with pytest.raises(ValueError, match=r"config\.rate must be finite"):
        config_to_json(Config(Path("x"), rate=float("inf")))
    with pytest.raises(TypeError, match=r"config\.f must hold plain settings, got"):
        config_to_json({"f": print})
