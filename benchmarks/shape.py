"""Shape auto-encoders: five families at equal floats, bottlenecks, baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fields.shapes.metrics import better, bootstrap
from fields.shapes.models import BOTTLENECKS, FAMILIES, ModelConfig
from fields.shapes.samples import ShapeSamples

from .command import CHECKOUT
from .metric import Metric
from .shape_baselines import costs_of_a_step, floors, mesh_codec_rows
from .shape_plots import plot
from .shape_trials import FULL, QUICK, Plan, Trial, Truth, training_shapes, trial, truths

FLOATS = (4096, 1024, 16384)
SEEDS = (0, 1)
SIZE: dict[str, Any] = {"width": 32, "set_width": 64, "num_points": 1024}
"""What fits a minute of one thread: the families share it."""
_STEPS_UNIT = 50
"""Numbers of steps are rounded to it, so that a little more or less time changes nothing."""
SHOWN = ("IoU", "F@1%", "Chamfer-L1", "near accuracy 0.005", "near accuracy 0.05",
         "normal consistency")  # fmt: skip


def run(*, quick: bool) -> Iterator[Metric]:
    """Ceilings, floors, families, bottlenecks, verdicts, mesh codec, costs."""
    plan = QUICK if quick else FULL
    known = truths(plan)
    for group, members in known.items():
        for score in ("F@1%", "IoU", "Chamfer-L1"):
            value = float(np.mean([truth.ceiling[score] for truth in members]))
            yield Metric(f"{group}, ceiling of {plan.resolution} cells: {score}", value, "")
    yield from floors(known, plan)
    shapes = training_shapes(plan)
    trials: list[Trial] = []
    for config in _configurations(quick):
        seeds = (0,) if quick else SEEDS
        chosen = [trial(config, seed, plan, shapes, known) for seed in seeds]
        trials += chosen
        yield from _rows(chosen, plan)
    yield from _verdicts(trials, f"{plan.seconds:g} s each")
    if not quick:
        yield from _at_equal_steps(trials, plan, shapes, known)
    yield from mesh_codec_rows(known, trials, plan)
    yield from costs_of_a_step(shapes, floats=(4096,) if quick else (4096, 16384))
    if not quick:
        plot(trials, known, CHECKOUT / "docs" / "images" / "shape-families.png")


def _configurations(quick: bool) -> Iterator[ModelConfig]:
    """The middle budget first, then the bottlenecks, then the other budgets."""
    first, *others = (1024,) if quick else FLOATS
    for family in FAMILIES:
        yield ModelConfig(family=family, floats=first, **SIZE)
    for bottleneck in BOTTLENECKS[1:]:
        yield ModelConfig(family="hybrid", floats=first, bottleneck=bottleneck, **SIZE)
    for floats in others:
        for family in FAMILIES:
            yield ModelConfig(family=family, floats=floats, **SIZE)


def _select(trials: Sequence[Trial], family: str, floats: int, bottleneck: str) -> list[Trial]:
    wanted = {"family": family, "floats": floats, "bottleneck": bottleneck}
    return [t for t in trials if all(t.config[k] == v for k, v in wanted.items())]


def _rows(chosen: Sequence[Trial], plan: Plan) -> Iterator[Metric]:
    """Means over seeds and shapes; intervals over shapes of the mean over seeds."""
    config = chosen[0].config
    name = f"{config['family']} {config['floats']} {config['bottleneck']}, {plan.budget}"
    for group in chosen[0].scores:
        for score in (*SHOWN, "bits"):
            values = np.mean([t.scores[group][score] for t in chosen], axis=0)
            found = bootstrap(values)
            direction = "lower" if score in ("Chamfer-L1", "bits") else "higher"
            unit = "bit" if score == "bits" else ""
            yield Metric(f"{name}, {group}: {score}", found.mean, unit, direction, 0.2)
            if score in ("IoU", "F@1%"):
                half = found.half_width
                yield Metric(f"{name}, {group}: {score}, half 95 % interval", half, "")
    for fact in chosen[0].facts:
        value = float(np.mean([t.facts[fact] for t in chosen]))
        is_use = fact.startswith("codebook use")
        limit = 0.95 if is_use and config["bottleneck"] in ("simvq", "rotation") else None
        yield Metric(f"{name}: {fact}", value, "", "higher" if is_use else None, 0.3, limit)


def _at_equal_steps(
    trials: Sequence[Trial],
    plan: Plan,
    shapes: list[ShapeSamples],
    known: dict[str, list[Truth]],
) -> Iterator[Metric]:
    """The hybrid, whose steps are dearer, after as many as the triplane took in its time."""
    rivals = [t for t in trials if t.config["family"] != "hybrid"]
    longer: list[Trial] = []
    for floats in FLOATS:
        taken = [t.facts["steps"] for t in _select(trials, "triplane", floats, "normalized")]
        fixed = replace(plan, steps=_STEPS_UNIT * round(float(np.mean(taken)) / _STEPS_UNIT))
        config = ModelConfig(family="hybrid", floats=floats, **SIZE)
        chosen = [trial(config, seed, fixed, shapes, known) for seed in SEEDS]
        longer += chosen
        yield from _rows(chosen, fixed)
    yield from _verdicts(rivals + longer, "as many steps as the triplane")


def _verdicts(trials: Sequence[Trial], budget: str) -> Iterator[Metric]:
    """The hybrid minus its rivals at equal floats, paired by shape; better only beyond doubt."""
    budgets = sorted({t.config["floats"] for t in trials})
    for floats in budgets:
        ours = _select(trials, "hybrid", floats, "normalized")
        for family in FAMILIES[:-1]:
            theirs = _select(trials, family, floats, "normalized")
            if not ours or not theirs:
                continue
            for group in ours[0].scores:
                a, b = (np.mean([t.scores[group]["IoU"] for t in side], axis=0)
                        for side in (ours, theirs))  # fmt: skip
                _, gap = better(a, b)
                name = f"IoU of hybrid above {family}, {floats} floats, {budget}, {group}"
                yield Metric(name, gap.mean, "", "higher", 0.5, 0.0)
                yield Metric(f"{name}: lower end of 95 %", gap.low, "", "higher", 0.5)
