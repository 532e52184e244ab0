"""What every verb shares: flags, console, device and log."""

from __future__ import annotations

import errno
import importlib
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from registration.ume import ColorFunction

console = Console(highlight=False, soft_wrap=True)
"""Where the verbs write for people: standard output, or stderr under `--json`."""

PACKAGES = ("captures", "runs", "vq", "splats", "fields", "registration", "viewer", "scripts")
"""Whose log messages the console shows."""

_NATIVE = ("vq", "splats", "fields", "fields.shapes", "registration")
"""Packages with kernels, each with a thread pool of its own."""

_EXPECTED = (ValueError, TypeError, OSError, ImportError, MemoryError)
"""Errors whose message is meant for the user; others are likely our own mistakes."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """Flags that every verb has."""

    json: bool = False
    """Print one line of JSON on standard output at the end; all other text goes to stderr."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes CUDA if there is one."""
    seed: int = 0
    """Seed of every random choice; equal seeds repeat a run bit for bit on the CPU."""
    num_threads: int | None = None
    """CPU threads; None takes as many as this process may use."""
    debug: bool = False
    """Show tracebacks and debug messages."""


def set_up(config: Common) -> None:
    """Console, log level, threads and seeds, before a verb runs."""
    from runs import seed_everything, set_num_threads

    console.stderr = config.json
    handler = RichHandler(console=console, show_time=False, show_path=config.debug)
    handler.setLevel(logging.DEBUG if config.debug else logging.WARNING)
    root = logging.getLogger()
    root.handlers = [old for old in root.handlers if not isinstance(old, RichHandler)]
    root.addHandler(handler)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.DEBUG if config.debug else logging.INFO)
    set_num_threads(config.num_threads)
    for package in _NATIVE:
        with suppress(ImportError):  # built without a compiler; its torch twin is used
            native = importlib.import_module(f"{package}._native")
            native.set_num_threads(config.num_threads or 0)  # 0: as many as this process may use
    seed_everything(config.seed)


def resolve_device(config: Common) -> torch.device:
    """The device of `--device`, said once on the console.

    Raises:
        ValueError: CUDA was asked for and there is none; nothing falls back silently.
    """
    import torch

    from runs import cpu_name

    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ValueError(
            "`--device cuda` needs a CUDA device, but torch "
            f"{torch.__version__} sees none; use --device cpu or install a CUDA build of torch."
        )
    if config.device == "cpu" or not available:
        console.print(f"Device: CPU ({cpu_name()}), {torch.get_num_threads()} threads")
        return torch.device("cpu")
    # For SSIM, see `splats.training.losses.photometric_loss`.
    torch.backends.cudnn.allow_tf32 = False
    console.print(f"Device: CUDA ({torch.cuda.get_device_name()})")
    return torch.device("cuda")


def report_failure(error: BaseException, *, debug: bool) -> None:
    """One red line on stderr, with the traceback before it where `debug` asks for it."""
    from runs import RunError

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    if debug:
        errors.print_exception()
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message = f"The disk is full: {message}; free some space or choose another --out."
    elif not isinstance(error, (*_EXPECTED, RunError)):
        message = f"{type(error).__name__}: {message}"
        if not debug:
            message += " (run again with --debug for the traceback)"
    errors.print(Text(f"Error: {message}", style="bold red"))


def learned_colors(path: Path | None) -> ColorFunction | None:
    """The colors that `learn-colors` wrote, for matching neighborhoods; None for no file."""
    if path is None:
        return None
    from registration.networks import Coloring

    return Coloring.load(path).of_cloud
