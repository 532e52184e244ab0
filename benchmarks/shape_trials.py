"""One auto-encoder of the shape suite: trained under a budget, scored, and remembered.

Budgets are seconds of processor time on one thread, so that a busy machine changes nothing. A trial
whose result lies in build/shapes/trials is not repeated, so the suite goes on where it was stopped;
delete that folder to measure again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from fields.shapes.comparison import Comparison
from fields.shapes.decoding import extract_mesh
from fields.shapes.latent_file import latent_asset, load_latent
from fields.shapes.mesh import MeshError, load_mesh
from fields.shapes.metrics import (
    Surface,
    active_units,
    near_accuracy,
    surface_scores,
    volume_iou,
)
from fields.shapes.models import ModelConfig, ShapeAutoEncoder
from fields.shapes.models.coding import SLACK, distance_of, encode_shape
from fields.shapes.models.training import ShapeConfig, ShapeMethod, load_shapes
from fields.shapes.prepare import (
    TRAINING_COUNTS,
    Options,
    prepare_mesh,
    prepare_procedural,
)
from fields.shapes.procedural import procedural_shape, tessellated
from fields.shapes.samples import ShapeSamples
from fields.shapes.sampling import Counts
from runs.files import write_json

from .command import CHECKOUT, real_data

FOLDER = CHECKOUT / "build" / "shapes"
REVISION = 1
"""Raised when a change makes remembered trials incomparable."""
REAL = (
    "common/spot.obj",
    "common/fandisk.obj",
    "common/homer.obj",
    "common/rocker-arm.obj",
    "common/stanford-bunny.obj",
    "trimesh/plate_holes.STL",
)
"""Real meshes that every trial is scored on; none is ever trained on."""


@dataclass(frozen=True)
class Plan:
    """How large the suite is."""

    train_shapes: int
    """Procedural shapes to train on."""
    held_out: int
    """Procedural shapes to score."""
    real: int
    """Real meshes to score."""
    seconds: float
    """Processor seconds of training per trial."""
    resolution: int
    """Cells per side of the lattice that is meshed."""
    points: int
    """Points per surface of the scores."""
    steps: int | None = None
    """Training steps per trial, whatever time they take; None goes by `seconds`."""

    @property
    def budget(self) -> str:
        """Of a trial, for people."""
        return f"{self.seconds:g} s" if self.steps is None else f"{self.steps} steps"


QUICK = Plan(train_shapes=6, held_out=2, real=1, seconds=3, resolution=32, points=2000)
FULL = Plan(train_shapes=176, held_out=6, real=6, seconds=40, resolution=64, points=10_000)


@dataclass(frozen=True)
class Truth:
    """A shape that trials are scored on."""

    name: str
    """Its name."""
    samples: ShapeSamples
    """What encoders see, and points with known distances."""
    surface: Surface
    """Points of the true surface."""
    ceiling: dict[str, float]
    """Scores of the true distances through the same lattice."""


@dataclass(frozen=True)
class Trial:
    """The outcome of one configuration and seed."""

    config: dict[str, Any]
    """Family, floats, bottleneck, seed."""
    scores: dict[str, dict[str, list[float]]]
    """For "held out" and "real": each score, one value per shape."""
    facts: dict[str, float]
    """Parameters, steps, codebook use, active units."""


def training_shapes(plan: Plan) -> list[ShapeSamples]:
    """The procedural training set, made once."""
    folder = FOLDER / ("quick" if plan is QUICK else "train")
    counts = Counts(4096, 1024, 2048, 4096) if plan is QUICK else TRAINING_COUNTS
    for _ in prepare_procedural(range(1000, 1000 + plan.train_shapes), folder, counts=counts):
        pass
    return load_shapes(folder)[: plan.train_shapes]


def truths(plan: Plan) -> dict[str, list[Truth]]:
    """Held-out procedural shapes and real meshes, with their ceilings."""
    counts = Counts(surface=12_288, sharp=4_096, near=8_192, volume=32_768)
    held_out = []
    for seed in range(plan.held_out):
        name, f = procedural_shape(seed)
        held_out.append(_truth(f"{name} {seed}", tessellated(f), counts, plan))
    found = {"held out": held_out}
    folder = real_data("meshes")
    if folder is not None:
        found["real"] = [
            _truth(name, load_mesh(folder / name), counts, plan) for name in REAL[: plan.real]
        ]
    return found


def _truth(name: str, mesh: Any, counts: Counts, plan: Plan) -> Truth:
    comparison = Comparison.of(mesh, resolution=plan.resolution, points=plan.points)
    samples, _ = prepare_mesh(mesh, options=Options(counts=counts), name=name)
    distance = comparison.examined.distance
    truth = Truth(name, samples, comparison.surface, {})
    return replace(truth, ceiling=score(truth, distance, plan))


def score(truth: Truth, distance: Any, plan: Plan, *, slack: float = 1.0) -> dict[str, float]:
    """Every score of one field; a field without a surface gets the worst of each."""
    samples = truth.samples
    fine, coarse = near_accuracy(samples.near_sdf, distance(samples.near), samples.near_sigma)
    found = {
        "IoU": volume_iou(samples.volume_sdf, distance(samples.volume)),
        "near accuracy 0.005": fine,
        "near accuracy 0.05": coarse,
    }
    try:
        mesh = extract_mesh(distance, plan.resolution, slack=slack)
    except MeshError:
        return found | {"F@1%": 0.0, "F@2%": 0.0, "Chamfer-L1": 1.0, "normal consistency": 0.0}
    scores = surface_scores(truth.surface, Surface.of(mesh, count=plan.points, seed=7))
    return found | {
        "F@1%": scores.f_score,
        "F@2%": scores.f_score_2,
        "Chamfer-L1": scores.chamfer_l1,
        "normal consistency": scores.normal_consistency,
    }


def trial(
    config: ModelConfig,
    seed: int,
    plan: Plan,
    shapes: Sequence[ShapeSamples],
    known: dict[str, list[Truth]],
) -> Trial:
    """Train and score one configuration, or recall it."""
    size = {name: value for name, value in asdict(plan).items() if value is not None}
    key = {"revision": REVISION, "seed": seed, "model": asdict(config), "plan": size}
    budget = plan.budget.replace(" ", "")
    name = f"{config.family}-{config.floats}-{config.bottleneck}-{seed}-{budget}"
    path = FOLDER / "trials" / f"{name}.json"
    if path.exists() and plan is not QUICK:
        stored = json.loads(path.read_text())
        if stored["key"] == json.loads(json.dumps(key)):
            return Trial(**stored["trial"])
    trainee, steps = trained(config, seed, plan, list(shapes))
    made = _scored(trainee.model.eval(), known, plan)
    made.config.update(
        family=config.family, floats=config.floats, bottleneck=config.bottleneck, seed=seed
    )
    made.facts.update(steps=steps, parameters=trainee.model.num_parameters)
    if plan is not QUICK:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"key": key, "trial": asdict(made)})
    return made


def trained(
    config: ModelConfig, seed: int, plan: Plan, shapes: list[ShapeSamples]
) -> tuple[ShapeMethod, int]:
    """A trainee after the plan's budget, and its number of steps."""
    settings = ShapeConfig(
        model=config, batch=4, queries=1024, learning_rate=2e-3, test_every=len(shapes) + 1
    )
    trainee = ShapeMethod(settings, shapes, device=torch.device("cpu"), seed=seed)
    start, step = time.process_time(), 0
    while True:
        spent = (time.process_time() - start) / plan.seconds
        progress = spent if plan.steps is None else step / plan.steps
        if progress >= 1:
            return trainee, step
        trainee.step(step, progress)
        step += 1


def _scored(model: ShapeAutoEncoder, known: dict[str, list[Truth]], plan: Plan) -> Trial:
    scores: dict[str, dict[str, list[float]]] = {}
    latents = []
    for group, members in known.items():
        rows = []
        for truth in members:
            latent = encode_shape(model, truth.samples)
            data = latent_asset(latent, model, digest="").to_bytes()
            stored = load_latent(data, model, digest="").latent
            latents.append(latent.vector().numpy())
            distance = distance_of(model, stored.values)
            rows.append(score(truth, distance, plan, slack=SLACK) | {"bits": 8.0 * len(data)})
        scores[group] = {name: [float(row[name]) for row in rows] for name in rows[0]}
    facts = {"active units": active_units(np.stack(latents))}
    for neck, part in zip(model.quantizers(), model.layout.parts, strict=False):
        facts[f"codebook use {part.name}"] = float(neck.quantizer.usage.mean())
        facts[f"perplexity {part.name}"] = float(neck.quantizer.perplexity.mean())
    return Trial({}, scores, facts)
