"""Plug-ins are found by name through entry points of any installed package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runs import list_plugins, load_plugin

GROUP = "fieldwright.tests"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that registers three plug-ins, one of them twice."""
    for name, entries in {
        "one": "ordered = collections:OrderedDict\ntwice = math:pi\nbroken = math:no_such_name",
        "two": "twice = math:e",
    }.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def test_installed_names_are_listed_and_loaded() -> None:
    from collections import OrderedDict

    assert list_plugins(GROUP) == ("broken", "ordered", "twice")
    assert load_plugin(GROUP, "ordered") is OrderedDict


def test_unknown_name_lists_what_is_installed() -> None:
    with pytest.raises(ValueError, match=r"installed there: broken, ordered, twice\."):
        load_plugin(GROUP, "missing")
    with pytest.raises(ValueError, match="installed there: nothing"):
        load_plugin("fieldwright.nowhere", "missing")


def test_ambiguous_and_broken_plugins_are_explained() -> None:
    with pytest.raises(ValueError, match=r"more than once: .*one \(math:pi\)"):
        load_plugin(GROUP, "twice")
    with pytest.raises(ImportError, match=r"cannot load `broken` .* from math:no_such_name"):
        load_plugin(GROUP, "broken")
