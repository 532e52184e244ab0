"""Benchmarks: limits, baselines, recorded results and the pages made from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import pages, suite
from benchmarks.headlines import HEADLINES
from benchmarks.metric import Metric
from benchmarks.timing import compare

REPOSITORY = Path(__file__).resolve().parent.parent.parent

FAST = Metric("speed", 3.0, "1e9/s", "higher", 0.1, limit=2.0)
SLOW = Metric("time", 20.0, "ms", "lower", 0.1, limit=19.0)
NEUTRAL = Metric("steps", 12345.0, "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for baselines, results and pages, with the project's README."""
    monkeypatch.setattr(suite, "FOLDER", tmp_path / "benchmarks")
    monkeypatch.setattr(suite, "CHECKOUT", tmp_path)
    readme = (REPOSITORY / "README.md").read_text()
    (tmp_path / "README.md").write_text(readme)
    return tmp_path


def test_limit_is_kept_on_the_right_side() -> None:
    """Higher is better for a speed, lower for a time; no limit, no verdict."""
    assert (FAST.met, SLOW.met, NEUTRAL.met) == (True, False, None)


def test_regression_is_judged_by_direction_and_tolerance() -> None:
    """Worse by just under and just over ten percent, in both directions."""
    assert not FAST.regressed(3.3) and FAST.regressed(3.4)
    assert not SLOW.regressed(18.5) and SLOW.regressed(18.0)
    assert not NEUTRAL.regressed(1.0) and not NEUTRAL.regressed(1e9)


def test_gate_compares_with_the_recorded_baseline(folder: Path) -> None:
    """A baseline passes against itself and names the row that got worse."""
    with pytest.raises(FileNotFoundError, match="--update-baseline"):
        suite.regressions("train", [FAST])
    suite.update_baseline("train", [FAST, SLOW])
    assert suite.regressions("train", [FAST, SLOW]) == []
    worse = Metric("speed", 1.0, "1e9/s", "higher", 0.1)
    [line] = suite.regressions("train", [worse, SLOW])
    assert line == "speed: 1 1e9/s, baseline 3"


def test_unknown_suite_is_named() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match=r"rasterizer, train, .*, got 'speed'"):
        suite.run_suite("speed", quick=True)


def test_recorded_results_fill_both_pages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row reaches the results page, misses first; headlines the README; twice the same."""
    monkeypatch.setattr(pages, "HEADLINES", ("time",))
    suite.record("train", [FAST, SLOW, NEUTRAL])
    content = json.loads((folder / "benchmarks" / "results" / "train.json").read_text())
    page, readme = folder / "docs" / "results.md", folder / "README.md"
    assert content["environment"]["cpu"] in page.read_text()
    assert content["environment"]["isa"] in page.read_text()
    missed, rows = page.read_text().split("## train")
    miss = "| time | 20 ms | ≤ 19 ms | **no** |"
    assert miss in missed and miss in rows
    assert "| speed |" not in missed and "| speed | 3 1e9/s | ≥ 2 1e9/s | yes |" in rows
    assert "| steps | 12,345 | | |" in rows
    assert miss in readme.read_text() and "| speed |" not in readme.read_text()
    for text in (page, readme):
        assert "1 of 2 figures with a limit meet it" in text.read_text()
    before = page.read_text(), readme.read_text()
    suite.record("train", [FAST, SLOW, NEUTRAL])
    assert (page.read_text(), readme.read_text()) == before


def test_headlines_are_recorded_rows() -> None:
    """No headline is misspelled or out of date."""
    found = [
        metric.name
        for path in (REPOSITORY / "benchmarks" / "results").glob("*.json")
        for metric in pages.Results.read(path).metrics
    ]
    assert set(HEADLINES) <= set(found)
    assert len(set(HEADLINES)) == len(HEADLINES)


def test_readme_table_keeps_everything_around_it(folder: Path) -> None:
    """Only the text between the markers changes."""
    original = (folder / "README.md").read_text()
    suite.record("captures", [SLOW])
    changed = (folder / "README.md").read_text()
    for text in (original, changed):
        assert text.count(pages.BEGIN) == text.count(pages.END) == 1
    assert original.split(pages.BEGIN)[0] == changed.split(pages.BEGIN)[0]
    assert original.split(pages.END)[1] == changed.split(pages.END)[1]


def test_calls_are_timed_in_turns() -> None:
    """One unmeasured round, then every call once per round in the same order."""
    order: list[str] = []
    times = compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == ["a", "b"] * 4
    assert all(0 <= timing.best <= timing.median for timing in times.values())
