"""What the distribution declares, ships and may collide with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
IMPORT = re.compile(
    r"^ *(?:from|import) (\w+)(?:[\w.]* import .*|[\w.]*(?: as \w+)?)(?:  #.*)?$", re.MULTILINE
)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def normalized(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    """Distributions named in any requirement of the project, its own extras aside."""
    project = PROJECT["project"]
    requirements = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        requirements += extra
    names = {normalized(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in requirements}
    return names - {"fieldwright"}


def test_no_installed_distribution_claims_our_import_names() -> None:
    """Our folders are top-level names; another distribution's equal name would shadow one."""
    ours = set(PROJECT["tool"]["scikit-build"]["wheel"]["packages"])
    for name, owners in packages_distributions().items():
        others = {normalized(owner) for owner in owners} - {"fieldwright"}
        assert name not in ours or not others, f"{name} is also installed by {sorted(others)}"


def test_every_tested_dependency_is_pinned() -> None:
    """`constraints.txt` says what was tested; an unpinned one would drift unseen."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {normalized(line.split("==")[0]) for line in lines if "==" in line}
    untested = {"gsplat", "lpips"}  # need CUDA and network weights
    assert declared() - untested <= pinned
    assert "torch==2.13.0" in lines


def test_every_import_is_declared() -> None:
    """A package that is here only because another one needs it may be gone tomorrow."""
    names = {name: normalized(owners[0]) for name, owners in packages_distributions().items()}
    ours = set(PROJECT["tool"]["scikit-build"]["wheel"]["packages"])
    for package in sorted(ours):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            found = set(IMPORT.findall(path.read_text()))
            foreign = found - ours - {"benchmarks"} - set(sys.stdlib_module_names)
            missing = {name for name in foreign if names.get(name, name) not in declared()}
            assert not missing, f"{path.relative_to(REPOSITORY)} imports undeclared {missing}"


def test_the_wheel_holds_only_packages() -> None:
    """Generic names such as `tests` or `benchmarks` must never reach site-packages."""
    packages = PROJECT["tool"]["scikit-build"]["wheel"]["packages"]
    assert not {"tests", "benchmarks", "docs"} & set(packages)
    assert all((REPOSITORY / package).is_dir() for package in packages)


def test_the_license_is_the_apache_text() -> None:
    """The file matches the declared expression."""
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert (
        "Apache License\n                           Version 2.0"
        in (REPOSITORY / "LICENSE").read_text()
    )


WITHOUT_NATIVE = """
import logging, re, sys
sys.modules["splats._native"] = None  # as where no compiler was found
logging.basicConfig(format="%(message)s", level=logging.INFO)
[example] = re.findall(r"(?ms)^```python$(.*?)^```$", open("README.md").read())
for _ in range(2):
    exec(example, variables := {})
assert variables["meta"]["backend"] == "reference"
"""


def test_splats_work_without_native_kernels_and_say_so_once() -> None:
    """The README's example holds its own assertion; it runs twice and is reported once."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_NATIVE],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    [line] = result.stderr.splitlines()
    assert "torch reference" in line and "C++ compiler" in line


@pytest.mark.slow
def test_wheel_is_built_without_a_compiler(tmp_path: Path) -> None:
    """A failing compiler leaves the kernels out and fails nothing."""
    pytest.importorskip("scikit_build_core", reason="the build backend is not installed")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    build_dir = f"--config-settings=build-dir={tmp_path / 'build'}"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, build_dir, str(REPOSITORY)],
        env=os.environ | {"CC": "/bin/false", "CXX": "/bin/false"},
        capture_output=True,
        check=True,
    )
    [wheel] = tmp_path.glob("fieldwright-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "splats/__init__.py" in names and "scripts/main.py" in names
    assert not any(name.endswith(".so") or "csrc" in name for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(
        PROJECT["tool"]["scikit-build"]["wheel"]["packages"]
    )
