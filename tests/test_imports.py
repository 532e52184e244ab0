"""Packages import each other in one direction only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

LIBRARIES = {"captures", "runs", "vq", "splats", "fields", "registration"}
ALLOWED = {
    "captures": set(),
    "runs": set(),
    "vq": set(),
    "splats": {"captures", "runs", "vq"},
    "fields": {"captures", "runs", "vq", "splats"},
    "registration": {"captures", "runs", "splats"},
    "viewer": LIBRARIES - {"vq"},
    "scripts": LIBRARIES | {"viewer", "benchmarks"},
    "benchmarks": LIBRARIES,
}
"""What each package may import of the project."""

HEAVY = {
    "av",
    "constriction",
    "faiss",
    "fast_simplification",
    "gsplat",
    "gtsam",
    "kiss_matcher",
    "laspy",
    "lpips",
    "matplotlib",
    "nerfstudio",
    "open3d",
    "pcodec",
    "pycolmap",
    "safetensors",
    "small_gicp",
    "trimesh",
    "viser",
    "xatlas",
}
"""Optional packages: imported where they are used, so that everything else works without them."""


def imports(nodes: list[ast.AST]) -> set[str]:
    """Top-level names that import statements among `nodes` bring in; relative ones are our own."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_follow_the_order(package: str) -> None:
    """No module reaches up or sideways, not even inside a function."""
    modules = sorted((REPOSITORY / package).rglob("*.py"))
    assert modules, f"package {package} has no modules"
    for path in modules:
        found = imports(list(ast.walk(ast.parse(path.read_text()))))
        wrong = (found & ALLOWED.keys()) - ALLOWED[package] - {package}
        assert not wrong, f"{path.relative_to(REPOSITORY)} must not import {sorted(wrong)}"


@pytest.mark.parametrize("package", sorted(ALLOWED.keys() - {"benchmarks"}))
def test_optional_packages_are_imported_late(package: str) -> None:
    """A missing extra breaks only its own feature."""
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        wrong = imports(list(ast.parse(path.read_text()).body)) & HEAVY
        assert not wrong, f"{path.relative_to(REPOSITORY)} imports {sorted(wrong)} at its top"
