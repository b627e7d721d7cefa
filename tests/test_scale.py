"""What a thousand people cost: nothing is worked out for everyone again for each of them.

Calls and bytes are counted, not seconds, so that a busy machine fails no test. The seconds are
those of tests/bench/scale.py and tests/bench/group.py.
"""

import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from handhold import captions, drawing, figures, figures_quality, report
from handhold.io import read_results, write_results
from handhold.study import open_study

ROOT = Path(__file__).parents[1]
STUDY = {
    "study": "grown",
    "title": "Grown",
    "source": "simulated",
    "seed": 1,
    "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
    "receptors": {"target": "MOR_modelled"},
}


def grown(n_subjects: int) -> dict:
    return {**STUDY, "simulate": {"n_subjects": n_subjects}}


def count_calls(work) -> int:
    """Count the calls of functions, Python's and C's, that something makes."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def is_linear(counts: list[int]) -> bool:
    """Tell whether what is counted at n, 2 n and 4 n grows as n does, to a tenth."""
    first, second = np.diff(counts)
    return second <= 2.2 * first  # 2 where it is linear, 4 where it is quadratic


def test_opening_a_study_takes_as_many_calls_more_as_there_are_people_more():
    open_study(grown(3))  # what is read once per process
    counts = [count_calls(lambda n=n: open_study(grown(n))) for n in (50, 100, 200)]
    assert is_linear(counts)


def test_what_every_job_asks_of_the_study_takes_the_same_for_each():
    def ask(study):
        for label, subject in study.labels.items():
            study.paths(subject)
            study.manifest.of(subject)
            study.files([label], ("bold", "mask"))
            study.batches[study.batch_of(label)]

    studies = [open_study(grown(n)) for n in (50, 100, 200)]
    ask(open_study(grown(3)))
    assert is_linear([count_calls(lambda own=own: ask(own)) for own in studies])


COUNTING = """\
import contextlib, sys
from snakemake import cli, io
hashed, plain = 0, io._IOFile.__hash__
def count(self):
    global hashed
    hashed += 1
    return plain(self)
io._IOFile.__hash__ = count
for n in (20, 40, 80):
    hashed = 0
    with contextlib.suppress(SystemExit):
        cli.main([*sys.argv[1:], "--configfile", f"{n}.yaml"])
    print("hashed", hashed)
"""


def test_snakemake_hashes_no_list_of_everyone_again_for_each_file(tmp_path):
    for name in ("atlases", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    for n in (20, 40, 80):
        (tmp_path / f"{n}.yaml").write_text(yaml.safe_dump(grown(n)))
    command = [sys.executable, "-c", COUNTING, "--dry-run", "--quiet", "--cores", "1"]
    done = subprocess.run(
        [*command, "--snakefile", str(ROOT / "Snakefile")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        capture_output=True,
        text=True,
        check=True,
    )
    counts = [int(n) for n in re.findall(r"hashed (\d+)", done.stdout)]
    assert len(counts) == 3, done.stderr
    assert counts[0] > 1000
    assert is_linear(counts)


# Says of how many ready jobs at a time Snakemake's scheduler looks at the inputs.
SAMPLING = """
from snakemake.scheduling.job_scheduler import JobScheduler

make = JobScheduler.__init__

def init(self, *arguments, **options):
    make(self, *arguments, **options)
    print("looks at", self.subsample)

JobScheduler.__init__ = init
from snakemake.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "looks_at"),
    [
        ((), 20),
        (("--scheduler-subsample", "7"), 7),
        # else no more would be started before one ends
        (("--cores", "128"), 128),
        (("--executor", "slurm", "--jobs", "400"), 400),
    ],
)
def test_snakemake_looks_at_some_of_the_jobs_that_are_ready(given, looks_at):
    done = subprocess.run(
        [sys.executable, "-c", SAMPLING, "--dry-run", "--quiet", *given],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"looks at {looks_at}\n" in done.stdout


def test_numbers_of_a_table_are_never_held_as_text(tmp_path):
    n = 50_000
    rng = np.random.default_rng(1)
    names = ("effect", "variance", "coverage", "tsnr")
    table = pd.DataFrame({name: rng.normal(size=n) for name in names})
    write_results(table, tmp_path / "table.tsv")
    read_results(tmp_path / "table.tsv")
    tracemalloc.start()
    read = read_results(tmp_path / "table.tsv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pd.testing.assert_frame_equal(read, table, check_exact=True)
    # the pieces that are read, and the whole; a number as text alone has 68 bytes and more
    assert peak < 3 * 8 * n * len(names)


# --- The page -----------------------------------------------------------------------------


def people(n: int) -> pd.DataFrame:
    """One ROI's attenuation and coverage in n people."""
    values = np.random.default_rng(1).normal(size=n)
    return pd.DataFrame(
        {
            "subject": [f"{i:05}" for i in range(n)],
            "definition": "a",
            "region": "vACC",
            "hemisphere": "both",
            "role": "hypothesised",
            "contrast": "partner",
            "attenuation": values,
            "coverage": 1 / (1 + np.exp(-values)),
        }
    )


def draw(name: str, n: int) -> str:
    rows = people(n)
    if name == "coverage":
        return drawing.to_svg(figures_quality.draw_coverage(rows, 0.05))
    tests = rows.head(1).assign(effect=0.1, low=0, high=0.2, n=n, p_fwe=0.5)
    return drawing.to_svg(figures.draw_attenuation(rows, tests, unit="%"))


@pytest.mark.parametrize("name", ["attenuation", "coverage"])
def test_up_to_two_hundred_people_each_mark_has_a_name(name):
    named = draw(name, captions.MOST_NAMED)
    assert named.count("data-subject=") == captions.MOST_NAMED
    pictures = draw(name, captions.MOST_NAMED + 1).count("<image")
    assert named.count("<image") == pictures - 1


@pytest.mark.parametrize("name", ["attenuation", "coverage"])
def test_the_marks_of_more_people_are_one_picture(name):
    some, many = (draw(name, n) for n in (captions.MOST_NAMED + 1, 2000))
    assert "data-subject" not in many
    assert some.count("<image") == many.count("<image")
    # a quarter of what a mark with its name takes; the picture grows until it is full
    assert len(many) - len(some) < 50 * (2000 - captions.MOST_NAMED)


def test_the_page_shows_the_first_rows_of_a_long_table_and_says_where_all_are():
    n = report.MOST_ROWS
    records = [{"path": f"image {i}", "sha256": f"{i:x}"} for i in range(n + 5)]
    columns, path = ["path", "sha256"], "provenance/inputs.tsv"
    whole = report._records_table(records[:n], columns, path)
    cut = report._records_table(records, columns, path)
    said = f"The first {n} of {n + 5} rows; all are in {path}."
    assert whole.count("<tr") == cut.count("<tr") == n + 1
    assert said in cut
    assert "The first" not in whole
    assert f"image {n - 1}" in cut
    assert f"image {n}" not in cut


def test_sheets_begin_with_those_who_are_least_like_the_template():
    n = 4 * captions.PER_SHEET
    dice = np.random.default_rng(1).uniform(0.5, 1, n).round(3).astype(str)
    dice[7] = "n/a"
    table = pd.DataFrame(
        {"subject": np.arange(n).astype(str), "dice_template": dice}
    ).assign(template_covered="0.9")
    dealt = captions.registration_sheets(table)
    order = pd.concat(dealt.values())
    assert order["subject"].iloc[0] == "7"
    assert (np.diff(order["dice_template"].iloc[1:].astype(float)) >= 0).all()
    # whose outline it is, is known by the place in the table
    assert (order.index.astype(str) == order["subject"]).all()
    assert sorted(order["subject"]) == sorted(table["subject"])
    told = captions.describe_registration(table)["registration-1"].caption
    assert f"{captions.PER_SHEET} of {n} people, from those least like" in told
    assert f"{captions.SHEETS_SHOWN} of 4 sheets" in told
    one = captions.registration_sheets(table.head(captions.PER_SHEET))["registration"]
    assert list(one["subject"]) == list(table["subject"].head(captions.PER_SHEET))
