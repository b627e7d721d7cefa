"""What a job asks a cluster for: memory and time, by the size of its inputs and the attempt."""

import math
from collections.abc import Callable
from pathlib import Path

# On a node, Snakemake starts a Snakemake that starts the job: MB of both.
STARTING = 400
# MB more of both for each person of the study, all of whom each of them reads of.
PLANNING = 0.2


def memory(
    base: float, per_mb: float = 0, of: str | None = None, people: int = 0
) -> Callable[..., int]:
    """Say how much memory a rule's jobs ask for.

    Parameters
    ----------
    base : float
        MB of a job, whatever its inputs.
    per_mb : float
        MB more for each MB of its inputs (as they lie on disk).
    of : str, optional
        The name of the inputs that count; all, if none is given.
    people : int
        People in the study.

    Returns
    -------
    callable
        As Snakemake calls it, by names: wildcards, input, attempt (from 1); MB, as often as the
        attempt, so that a job that ran out of memory is tried again with more.
    """
    starting = STARTING + PLANNING * people
    return _growing(base + starting, per_mb, of)


def minutes(
    base: float, per_mb: float = 0, of: str | None = None
) -> Callable[..., int]:
    """Say how much time a rule's jobs ask for, in minutes, as `memory` does."""
    return _growing(base, per_mb, of)


def _growing(base: float, per_mb: float, of: str | None) -> Callable[..., int]:
    def ask(wildcards, input, attempt):
        size = megabytes(getattr(input, of) if of else input) if per_mb else 0
        return attempt * math.ceil(base + per_mb * size)

    return ask


def megabytes(paths: list[str]) -> float:
    """Return the size of files in MB (2**20 bytes)."""
    return sum(Path(path).stat().st_size for path in paths) / 2**20
