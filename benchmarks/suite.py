"""The suites by name, their baselines per class of machine, and the written results."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runs import describe_environment
from splats import _native

from . import conversion_pages, format_pages, pages
from .command import CHECKOUT
from .metric import Metric

SUITES = (
    "rasterizer",
    "train",
    "train_long",
    "captures",
    "asset",
    "vq",
    "formats",
    "formats_streaming",
    "formats_fuzz",
    "compact",
    "compact_cuda",
    "hash_grid",
    "registration",
    "splat_alignment",
    "averaging",
    "viewing_graph",
    "point_networks",
    "subbundles",
    "fields",
    "decompositions",
    "nerfacto",
    "conversions",
    "shape",
    "shape_model",
)
"""Each is the module `benchmarks.<name>` with `run(*, quick) -> Iterator[Metric]`."""

FOLDER = Path(__file__).resolve().parent


def run_suite(name: str, *, quick: bool) -> Iterator[Metric]:
    """Measure one suite, row by row; `quick` shrinks the work and is never recorded.

    Raises:
        ValueError: There is no such suite.
    """
    if name not in SUITES:
        raise ValueError(f"`suite` must be one of {', '.join(SUITES)}, got {name!r}.")
    return importlib.import_module(f"{__package__}.{name}").run(quick=quick)


def baseline_path() -> Path:
    """The committed baseline of this class of machine."""
    return FOLDER / "baseline" / f"cpu-{len(os.sched_getaffinity(0))}core.json"


def regressions(suite: str, metrics: Sequence[Metric]) -> list[str]:
    """One line for each figure that is worse than the baseline allows.

    Raises:
        FileNotFoundError: There is no baseline of this suite for this class of machine.
    """
    path = baseline_path()
    known = json.loads(path.read_text()).get(suite) if path.exists() else None
    if known is None:
        raise FileNotFoundError(
            f"no baseline of suite {suite!r} in {path.name}; record one with --update-baseline."
        )
    return [
        f"{metric.name}: {metric.value:.4g} {metric.unit}, baseline {known[metric.name]:.4g}"
        for metric in metrics
        if metric.name in known and metric.regressed(known[metric.name])
    ]


def update_baseline(suite: str, metrics: Sequence[Metric]) -> Path:
    """Make these figures the baseline of this class of machine."""
    path = baseline_path()
    content = json.loads(path.read_text()) if path.exists() else {}
    content[suite] = {metric.name: metric.value for metric in metrics}
    return _write(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def record(suite: str, metrics: Sequence[Metric]) -> list[Path]:
    """Write the suite's results, and `docs/results.md` and the README's table from all results."""
    content = {
        "environment": _environment(),
        "date": datetime.now(UTC).date().isoformat(),
        "metrics": [asdict(metric) for metric in metrics],
    }
    written = _write(FOLDER / "results" / f"{suite}.json", json.dumps(content, indent=1) + "\n")
    results = [
        pages.Results.read(path)
        for name in SUITES
        if (path := FOLDER / "results" / f"{name}.json").exists()
    ]
    readme = CHECKOUT / "README.md"
    own = []
    if suite == "formats":
        page = format_pages.formats_page(pages.Results.read(written))
        own.append(_write(CHECKOUT / "docs" / "formats.md", page))
    if suite == "conversions":
        page = conversion_pages.conversions_page(pages.Results.read(written))
        own.append(_write(CHECKOUT / "docs" / "conversions.md", page))
    return [
        written,
        *own,
        _write(CHECKOUT / "docs" / "results.md", pages.results_page(results)),
        _write(readme, pages.with_measured_table(readme.read_text(), results)),
    ]


def _environment() -> dict[str, Any]:
    """The machine and the source; what suites write themselves is no change of the source."""
    found: dict[str, Any] = describe_environment() | {"isa": _native.isa()}
    if found["git"] is not None:
        written = [f":!{path}" for path in ("README.md", "docs", "benchmarks/*.json")]
        command = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *written]
        status = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        found["git"]["dirty"] = bool(status.stdout)
    return found


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
    return path
