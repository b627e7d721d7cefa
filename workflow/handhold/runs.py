"""Runs by name."""

from collections.abc import Mapping

RUN = ["subject", "session", "run"]


def name_run(subject: str, session: object, run: object) -> str:
    """Return how messages name a run.

    Examples
    --------
    >>> name_run("01", None, "2")
    'sub-01 run-2'
    """
    parts = [f"sub-{subject}"]
    parts += [f"ses-{session}"] if isinstance(session, str) else []
    parts += [f"run-{run}"] if isinstance(run, str) else []
    return " ".join(parts)


def run_name(row: Mapping) -> str:
    """Return sub-, ses- and run- of a row of the runs table, as messages say it.

    Examples
    --------
    >>> run_name({"subject": "01", "session": float("nan"), "run": "2"})
    'sub-01 run-2'
    """
    return name_run(*(row[label] for label in RUN))
