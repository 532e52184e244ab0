"""What README and guide show works: Python examples, verbs, flags and links."""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path

import pytest

from runs import METHODS, list_plugins
from scripts.main import VERBS, main
from scripts.shape import COMMANDS as SHAPE_COMMANDS

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"
PAGES = (README, REPOSITORY / "docs" / "guide.md")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def code_of(page: Path) -> str:
    """Everything that a page shows as code, spans and blocks, one command per line."""
    text = page.read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", prose)
    return "\n".join([*blocks, *spans]).replace("\\\n", " ")


def shown_commands() -> list[tuple[str, str]]:
    """Pairs of a verb and the rest of its line, from all pages."""
    found = set()
    for page in PAGES:
        found |= set(re.findall(r"\bfieldwright ([a-z-]+)([^\n#]*)", code_of(page)))
    return sorted(found)


@cache
def flags_of(verb: str) -> frozenset[str]:
    """The long flags that `fieldwright VERB --help` lists, with its methods or commands."""
    words = {"train": list_plugins(METHODS), "shape": SHAPE_COMMANDS}.get(verb)
    options = [[]] if words is None else [[word] for word in words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", text := io.StringIO())
        for option in options:
            assert main([verb, *option, "--help"]) == 0
    return frozenset(re.findall(r"--[a-z][a-z0-9-]*", text.getvalue()))


def test_readme_has_an_example() -> None:
    """An empty list would let the next test pass without running anything."""
    assert EXAMPLES


@pytest.mark.parametrize("source", EXAMPLES)
def test_readme_example_runs(source: str) -> None:
    """The example holds its own assertion."""
    exec(compile(source, str(README), "exec"), {})


def test_every_verb_is_shown_and_exists() -> None:
    """A verb without a line in the pages is as wrong as a line without a verb."""
    shown = {verb for verb, _ in shown_commands()}
    assert shown == set(VERBS)
    modules = [verb.replace("-", "_") for verb in VERBS]
    assert all((REPOSITORY / "scripts" / f"{module}.py").is_file() for module in modules)


@pytest.mark.parametrize(("verb", "rest"), shown_commands())
def test_shown_flags_exist(verb: str, rest: str) -> None:
    """Every flag of every shown command line is one that the verb's help lists."""
    assert set(re.findall(r"--[a-z][a-z0-9-]*", rest)) <= flags_of(verb)


def test_flags_named_alone_exist() -> None:
    """A flag in running text belongs to some verb."""
    known = frozenset().union(*(flags_of(verb) for verb in VERBS))
    for page in PAGES:
        named = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", code_of(page)))
        assert named <= known, f"{page.name} names {sorted(named - known)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    """Relative links and pictures exist in the checkout."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to missing {target}"
