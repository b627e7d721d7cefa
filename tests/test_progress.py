"""A run is followed by what Snakemake logs: what is done, what runs, how long the rest takes."""

import logging
from enum import Enum
from pathlib import Path

import pytest

from handhold.progress import Follower, part_on_error, part_on_success, time_left


class Event(Enum):
    """As Snakemake names them."""

    INFO = "job_info"
    FINISHED = "job_finished"
    ERROR = "job_error"


class Run:
    """Jobs on a clock that stands still between them."""

    def __init__(self, steps):
        self.now, self.lines = 100.0, []
        self.follower = Follower(steps, self.lines.append, lambda: self.now)

    def log(self, **said):
        record = logging.makeLogRecord(said)
        self.follower.handle(record)

    def start(self, jobid, rule):
        self.log(event=Event.INFO, jobid=jobid, rule_name=rule)

    def end(self, jobid, after):
        self.now += after
        self.log(event=Event.FINISHED, job_id=jobid)


def test_the_line_says_what_is_done_runs_and_is_left():
    run = Run(["fit"] * 4 + ["test", "all"])
    run.start(1, "fit")
    run.start(2, "fit")
    run.start(3, "test")
    run.log(msg="something else")
    run.end(1, after=12.0)
    # a fit took 12 s, and so, for all we know, do the others: 5 of 12 s, one at a time
    line = "handhold: 1 of 6 steps done; running fit, test; about 1 min 00 s left\n"
    assert run.lines == [line]


def test_lines_come_seldom_and_none_after_the_last():
    run = Run(["fit"] * 3)
    for job in range(3):
        run.start(job, "fit")
        run.end(job, after=3.0)
    assert [line.split(" steps")[0] for line in run.lines] == ["handhold: 2 of 3"]


@pytest.mark.parametrize(
    ("finished", "waiting", "elapsed", "left"),
    [
        # two at a time: 20 s of work in 10 s
        ({"a": [10.0, 10.0]}, {"a": 6}, 10.0, 30.0),
        # each rule at its own pace, and one of which nothing is known at the mean of all
        ({"a": [1.0], "b": [9.0]}, {"a": 2, "b": 1, "c": 1}, 10.0, 2 * 1 + 9 + 5),
        ({}, {"a": 3}, 0.0, 0.0),
    ],
)
def test_time_left_is_work_over_what_runs_side_by_side(
    finished, waiting, elapsed, left
):
    assert time_left(finished, waiting, elapsed) == pytest.approx(left)


def test_a_failed_job_names_its_log_at_the_end(tmp_path):
    run = Run(["fit", "all"])
    run.start(1, "fit")
    run.log(event=Event.ERROR, jobid=1, log=["results/s/logs/fit.txt"])
    run.now += 75
    said = part_on_error(run.follower.took, run.follower.failed)
    assert "stopped after 1 min 15 s" in said
    assert "results/s/logs/fit.txt" in said
    assert "what is done is kept" in said
    assert "what Snakemake wrote above" in part_on_error("1 s", [])


def test_the_last_line_is_where_the_report_is():
    page = Path("results", "s", "report.html")
    assert (
        part_on_success("2 s", page) == f"handhold: done in 2 s. The report: {page}\n"
    )
    # a run that was not asked for a page
    assert part_on_success("2 s", None) == "handhold: done in 2 s.\n"
