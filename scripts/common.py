"""What every verb shares: flags, console, device and log."""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

if TYPE_CHECKING:
    import torch

console = Console(highlight=False, soft_wrap=True)
"""Where the verbs write for people: standard output, or stderr under `--json`."""

_EXPECTED = (ValueError, TypeError, OSError, ImportError, MemoryError, ArithmeticError)


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
    console.stderr = config.json
    level = logging.DEBUG if config.debug else logging.INFO
    handler = RichHandler(console=console, show_time=False, show_path=config.debug, level=level)
    root = logging.getLogger()
    for old in [item for item in root.handlers if isinstance(item, RichHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in ("captures", "runs", "splats", "viewer", "scripts"):
        logging.getLogger(package).setLevel(level)
    if config.num_threads is not None and config.num_threads < 1:
        raise ValueError(f"`--num-threads` must be 1 or more, got {config.num_threads}.")
    import torch

    torch.set_num_threads(config.num_threads or len(os.sched_getaffinity(0)))
    torch.manual_seed(config.seed)


def resolve_device(config: Common) -> torch.device:
    """The device of `--device`, said once on the console.

    Raises:
        ValueError: CUDA was asked for and there is none; nothing falls back silently.
    """
    import torch

    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ValueError(
            "`--device cuda` needs a CUDA device, but torch "
            f"{torch.__version__} sees none; use --device cpu or install a CUDA build of torch."
        )
    if config.device == "cpu" or not available:
        console.print(f"Device: CPU ({cpu_name()}), {torch.get_num_threads()} threads")
        return torch.device("cpu")
    console.print(f"Device: CUDA ({torch.cuda.get_device_name()})")
    return torch.device("cuda")


def cpu_name() -> str:
    """Model name of this machine's processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()


def report_failure(error: BaseException, *, debug: bool) -> None:
    """One red line on stderr, with the traceback before it where `debug` asks for it."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    if debug:
        errors.print_exception()
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message = f"The disk is full: {message}; free some space or choose another --out."
    elif not isinstance(error, _EXPECTED):
        message = f"{type(error).__name__}: {message}"
        if not debug:
            message += " (run again with --debug for the traceback)"
    errors.print(Text(f"Error: {message}", style="bold red"))
