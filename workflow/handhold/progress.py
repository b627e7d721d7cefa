"""Say how far a run has come, what runs, and how long the rest will take."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import fmean

WIDTH = 24
# A line more often than this says little that is new; s.
EVERY = 5.0
# Jobs on several cores end together, so that gaps differ by much.
LONG = 10
# What Snakemake says when a user stops it, by Ctrl-C or by a signal.
INTERRUPTED = ("Terminating processes on user request", "Will exit after finishing")


def report(done: list[Path], total: int, what: str) -> str:
    """Draw a bar of how many of `total` files are there.

    Parameters
    ----------
    done : list of Path
        The files that are there; their times tell the pace.
    total : int
        How many there will be.
    what : str
        What they are, for the reader.

    Returns
    -------
    str
        One line, with the time left once two files are there.
    """
    n_done = min(len(done), total)
    full = WIDTH * n_done // total
    line = f"{what} [{'#' * full}{'.' * (WIDTH - full)}] {n_done} of {total}"
    times = sorted(path.stat().st_mtime for path in done)
    if 1 < n_done < total:
        gaps = sorted(later - before for before, later in pairwise(times))
        # gaps far longer than most are interruptions of the run
        usual = [gap for gap in gaps if gap <= LONG * gaps[3 * (len(gaps) - 1) // 4]]
        line += f", about {_in_words((total - n_done) * fmean(usual))} left"
    return line


def show(done: list[Path], total: int, what: str) -> None:
    """Write the bar to the terminal."""
    sys.stderr.write(f"{report(done, total, what)}\n")
    sys.stderr.flush()


class Follower(logging.Handler):
    """Follow the jobs of a run by what Snakemake logs, and write a line on where it stands.

    Beside Snakemake's own words, which stay as they are: what it logs as it starts and ends a
    job is listened to, and nothing is taken from it.

    Parameters
    ----------
    steps : iterable of str
        The rule of each job that is to run.
    write : callable
        Takes a line.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        steps: Iterable[str],
        write: Callable[[str], object] = sys.stderr.write,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.waiting = Counter(steps)
        self.total = self.waiting.total()
        self.running: dict[int, tuple[str, float]] = {}
        self.finished: dict[str, list[float]] = {}
        self.failed: list[str] = []
        self.interrupted = False
        self.line, self.clock = write, clock
        self.began = self.written = clock()

    def emit(self, record: logging.LogRecord) -> None:
        """Take in what Snakemake says of a job."""
        said, now = vars(record), self.clock()
        event = getattr(said.get("event"), "value", None)
        if event == "job_info":
            self.running[said["jobid"]] = (said["rule_name"], now)
        elif event == "job_error":
            self.running.pop(said["jobid"], None)
            self.failed += [str(path) for path in said.get("log") or []]
        elif event == "job_finished":
            self._finish(said["job_id"], now)
        elif str(record.msg).startswith(INTERRUPTED):
            self.interrupted = True

    def _finish(self, job: int, now: float) -> None:
        rule, began = self.running.pop(job, ("", now))
        if rule:
            self.finished.setdefault(rule, []).append(now - began)
            self.waiting[rule] -= 1
        if now - self.written >= EVERY and self.waiting.total():
            self.written = now
            self.line(f"{self.tell(now)}\n")

    def tell(self, now: float) -> str:
        """Say how many steps are done, what runs, and how long the rest will take."""
        done = self.total - self.waiting.total()
        running = Counter(rule for rule, _ in self.running.values())
        named = ", ".join(
            f"{rule} ({n})" if n > 1 else rule for rule, n in running.items()
        )
        left = time_left(self.finished, self.waiting, now - self.began)
        parts = [
            f"handhold: {done} of {self.total} steps done",
            f"running {named}" if named else "",
            f"about {_in_words(left)} left",
        ]
        return "; ".join(part for part in parts if part)

    @property
    def took(self) -> str:
        """How long the run has taken, in words."""
        return _in_words(self.clock() - self.began)


def time_left(
    finished: Mapping[str, list[float]], waiting: Mapping[str, int], elapsed: float
) -> float:
    """Estimate how long the waiting jobs will take.

    Parameters
    ----------
    finished : mapping of str to list of float
        Seconds of each job that has ended, by its rule.
    waiting : mapping of str to int
        Jobs still to end, by rule. One of whose rule none has ended takes the mean of all.
    elapsed : float
        Seconds since the start, which tell how many jobs ran side by side.

    Returns
    -------
    float
        Seconds.

    Examples
    --------
    >>> time_left({"fit": [10.0, 10.0]}, {"fit": 4, "test": 1}, elapsed=10.0)
    25.0
    """
    spent = [seconds for each in finished.values() for seconds in each]
    usual = fmean(spent) if spent else 0.0
    work = sum(n * fmean(finished.get(rule) or [usual]) for rule, n in waiting.items())
    return work / max(1.0, sum(spent) / max(elapsed, 1e-9))


def part_on_success(took: str, page: Path | None) -> str:
    """Say at the end of a run where its answer is: the page, if the run was asked for it."""
    where = f" The report: {page}" if page else ""
    return f"handhold: done in {took}.{where}\n"


def part_on_interrupt(took: str) -> str:
    """Say at the end of a run that its user stopped how to go on."""
    return (
        f"handhold: stopped by you after {took}. Nothing is half-written: the same command goes "
        "on from here, and what is done is kept.\n"
    )


def part_on_error(took: str, logs: list[str]) -> str:
    """Say at the end of a run that failed what to read, and how to go on."""
    read = ", ".join(dict.fromkeys(logs)) or "what Snakemake wrote above"
    return (
        f"handhold: stopped after {took}. What went wrong: {read}. Once it is mended, the same "
        "command goes on from here: what is done is kept.\n"
    )


def _in_words(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
