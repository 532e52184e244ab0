"""The `fieldwright` command: picks the verb, imports only its module and reports how it went.

Exit codes: 0 done, 1 failure, 2 usage. A failure prints one line on stderr; `--debug` adds the
traceback.
"""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, get_type_hints

VERBS = {
    "demo": "sample capture, training, report and video: a first look in five minutes",
    "capture": "photos or a video to camera poses",
    "train": "fit a scene to a capture",
    "eval": "score a scene on held-out images, with a report",
    "render": "a camera path to a video or frames",
    "register": "many scans into one frame, and their merged cloud",
    "align": "a cloud or splat scene onto another, with its scale if asked",
    "learn-colors": "train invariant colors of clouds for matching",
    "compress": "a splat scene to a small asset, by size or by quality",
    "place": "a scene upright and in meters",
    "convert": "a splat file to another format, with a report of what that costs",
    "shape": "meshes to latents and back: prepare, train, encode, decode, compare",
    "view": "look at scenes in the browser",
    "info": "what is inside a file, run or capture",
    "bench": "measure this machine against the committed baseline",
}
"""Every verb, implemented by the module `scripts.<verb>` (- as _), and what it does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    A verb's module has `run(config) -> dict`, the `--json` summary; the annotation of `config` is
    a dataclass derived from `scripts.common.Common`, from which the flags are made. A verb whose
    flags depend on what is installed offers `parse(args) -> config` instead.

    Args:
        argv: Arguments after the program's name; None takes the process's own.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        write = sys.stdout.write if args else sys.stderr.write
        write(_overview())
        return 0 if args else 2
    if args[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"fieldwright {version('fieldwright')}\n")
        return 0
    verb = args[0]
    if verb not in VERBS:
        sys.stderr.write(suggestion("verb", verb, VERBS) + "\n")
        return 2
    return _run_verb(verb, args[1:])


def suggestion(kind: str, found: str, known: Sequence[str] | dict[str, str]) -> str:
    """One line that says a name is unknown, what is close to it and what there is."""
    close = difflib.get_close_matches(found, list(known), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"Unknown {kind} {found!r}.{hint} Known: {', '.join(known)}."


def _overview() -> str:
    lines = [f"  {verb:<12} {summary}" for verb, summary in VERBS.items()]
    return (
        "usage: fieldwright VERB [options]\n\n"
        + "\n".join(lines)
        + "\n\nfieldwright VERB --help lists the options of one verb.\n"
    )


def _run_verb(verb: str, args: list[str]) -> int:
    from .common import console, report_failure, set_up

    debug = "--debug" in args
    wants_json = "--json" in args
    stdout = sys.stdout
    try:
        module = importlib.import_module(f"{__package__ or 'scripts'}.{verb.replace('-', '_')}")
        config = _parse(module, verb, args)
        with redirect_stdout(sys.stderr if wants_json else stdout):
            set_up(config)
            summary = module.run(config)
    except SystemExit as stop:  # tyro: 0 after --help, 2 after a usage error
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return 1
    except Exception as error:
        report_failure(error, debug=debug)
        return 1
    if wants_json:
        stdout.write(json.dumps(summary, allow_nan=False) + "\n")
    return 0


def _parse(module: Any, verb: str, args: list[str]) -> Any:
    if hasattr(module, "parse"):
        return module.parse(args)
    import tyro

    config_type = get_type_hints(module.run)["config"]
    return tyro.cli(config_type, args=args, prog=f"fieldwright {verb}", description=module.__doc__)


if __name__ == "__main__":
    sys.exit(main())
