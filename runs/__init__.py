"""One training run, whatever is trained: folder, budget, loop, checkpoints and exact resume."""

from .budget import Budget
from .cadence import Cadence
from .checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from .config import config_from_json, config_to_json
from .directory import RunDirectory
from .environment import cpu_name, describe_environment
from .errors import CheckpointError, CorruptCheckpointError, NonFiniteLossError, RunError
from .logs import logging_to
from .loop import train
from .memory import peak_cuda_memory_bytes, peak_memory_bytes
from .metrics import MetricsLog, read_metrics
from .plugins import COMPRESSORS, FORMATS, METHODS, SCENES, list_plugins, load_plugin
from .progress import BarProgress, LineProgress, Progress, Report, make_progress
from .seeding import random_state, restore_random_state, seed_everything, set_num_threads
from .summary import Summary
from .trainee import Scalars, Trainee, WatchableTrainee

__all__ = [
    "COMPRESSORS",
    "FORMATS",
    "METHODS",
    "SCENES",
    "BarProgress",
    "Budget",
    "Cadence",
    "Checkpoint",
    "CheckpointError",
    "CorruptCheckpointError",
    "LineProgress",
    "MetricsLog",
    "NonFiniteLossError",
    "Progress",
    "Report",
    "RunDirectory",
    "RunError",
    "Scalars",
    "Summary",
    "Trainee",
    "WatchableTrainee",
    "config_from_json",
    "config_to_json",
    "cpu_name",
    "describe_environment",
    "latest_checkpoint",
    "list_plugins",
    "load_checkpoint",
    "load_plugin",
    "logging_to",
    "make_progress",
    "peak_cuda_memory_bytes",
    "peak_memory_bytes",
    "random_state",
    "read_metrics",
    "restore_random_state",
    "save_checkpoint",
    "seed_everything",
    "set_num_threads",
    "train",
]
