"""The same bytes from every process, and the same arrays out of them: threads, instruction sets,
and without compiled kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.asset_files import example
from benchmarks.asset_fuzzing import target

PROGRAM = """
import hashlib, os, pathlib, sys
if os.environ["KERNELS"] == "none":
    sys.modules["vq._native"] = None
    sys.modules["splats._native"] = None
import torch
from vq.asset import open_asset
from benchmarks import asset_fuzzing
from splats import formats
from splats.gaussians import Gaussians
torch.set_num_threads(int(os.environ["THREADS"]))
if os.environ["KERNELS"] != "none":
    from vq import _native
    _native.set_num_threads(int(os.environ["THREADS"]))
    assert _native.isa() == os.environ["FIELDWRIGHT_ISA"], _native.isa()
    assert _native.num_threads() == int(os.environ["THREADS"])
written = hashlib.blake2b()
for data in asset_fuzzing.target().files:
    written.update(data)
scene = pathlib.Path(sys.argv[1]).parent / f"scene_{os.getpid()}.fwa"
random = torch.Generator().manual_seed(3)
shapes = (90, 3), (90, 4), (90, 3), (90,), (90, 1, 3), (90, 8, 3)
parts = [torch.randn(shape, generator=random) for shape in shapes]
formats.save(Gaussians(*parts), scene)
written.update(scene.read_bytes())
decoded = hashlib.blake2b()
for name in (*sys.argv[1:], str(scene)):
    for label, array in sorted(open_asset(name).arrays().items()):
        decoded.update(f"{label}{array.dtype}{array.shape}".encode() + array.tobytes())
print(written.hexdigest(), decoded.hexdigest())
"""


def digests(files: list[Path], *, kernels: str, threads: int) -> list[str]:
    """Of the files that a fresh process writes, and of what it decodes from `files`."""
    environment = os.environ | {
        "KERNELS": kernels,
        "THREADS": str(threads),
        "FIELDWRIGHT_ISA": kernels if kernels != "none" else "auto",
    }
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, files)],
        env=environment,
        cwd=Path(__file__).resolve().parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def where_the_processor_has(isa: str) -> object:
    """A parameter that is skipped on other processors, by what torch knows of this one: kernels
    that were not built for instructions that it has are a failure."""
    known = torch.backends.cpu.get_cpu_capability()
    lacks = isa.upper() not in {"AVX2": ("AVX2",), "AVX512": ("AVX2", "AVX512")}.get(known, ())
    return pytest.param(isa, 2, marks=pytest.mark.skipif(lacks, reason=f"no {isa}, only {known}"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of everything, on disk."""
    folder = tmp_path_factory.mktemp("assets")
    paths = []
    for index, data in enumerate((example()[0], *target().files)):
        paths.append(folder / f"{index}.fwa")
        paths[-1].write_bytes(data)
    return paths


@pytest.fixture(scope="module")
def reference(files: list[Path]) -> list[str]:
    """What one thread of plain C++ gives."""
    pytest.importorskip("vq._native", reason="the kernels are not built")
    return digests(files, kernels="portable", threads=1)


@pytest.mark.parametrize(
    ("kernels", "threads"),
    [
        ("portable", 2),
        where_the_processor_has("avx2"),
        where_the_processor_has("avx512"),
        pytest.param("none", 1, marks=pytest.mark.slow),
    ],
)
def test_every_process_writes_and_reads_the_same(
    files: list[Path], reference: list[str], kernels: str, threads: int
) -> None:
    """Digests of all written files and all decoded arrays."""
    assert digests(files, kernels=kernels, threads=threads) == reference
