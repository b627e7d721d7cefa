"""Say how far jobs of one kind have come, and how long the others will take."""

import sys
from itertools import pairwise
from pathlib import Path
from statistics import fmean

WIDTH = 24
# Jobs on several cores end together, so that gaps differ by much.
LONG = 10


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


def _in_words(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
