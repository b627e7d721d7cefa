"""Seconds of `snakemake calibrate`, start of every job included.

`python tests/bench/calibrate.py [--config FILE] [--folder FOLDER] [--cohorts N] [--power N]
[--cores N]` makes the results that the calibration starts from (untimed; kept in FOLDER and not
made again), then times the rules of calibration.smk. By default the study is config/config.yaml
with 1,000 cohorts of each world, and 400 of each further number of people. The last line says what
a cohort costs.
"""

import argparse
import tempfile
from pathlib import Path

import yaml
from end_to_end import ROOT, head, measure, show, write_study

# What is timed: all that the calibration does, from tables and maps on.
TIMED = (
    *("prepare_calibration", "draw_yardsticks", "repeat_study"),
    *("join_calibration", "draw_calibration"),
)


def calibrate(folder: Path, config: dict, cores: int) -> dict:
    """Make what the calibration starts from, then run and measure it."""
    command = write_study(folder, config)
    command[command.index("--cores") + 1] = str(cores)
    measure([*command, "--until", "prepare_calibration", "--", "calibrate"])
    return measure([*command, "--forcerun", *TIMED, "--", "calibrate"])


def count_cohorts(folder: Path, config: dict) -> int:
    """Count the cohorts that were drawn, of all worlds and numbers of people."""
    table = folder / "results" / config["study"] / "calibration.tsv"
    rows = [line.split("\t") for line in table.read_text("utf-8").splitlines()]
    place = {name: i for i, name in enumerate(rows[0])}
    drawn = {
        (row[place["world"]], row[place["n_subjects"]]): int(row[place["n_replicates"]])
        for row in rows[1:]
    }
    return sum(drawn.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "config/config.yaml")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--power", type=int, default=400)
    parser.add_argument("--cores", type=int, default=1)
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text("utf-8"))
    sizes = {"n_replicates": args.cohorts, "n_replicates_power": args.power}
    config["calibrate"] = {**config.get("calibrate", {}), **sizes}
    folder = (args.folder or Path(tempfile.mkdtemp())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    head(config["title"])
    found = calibrate(folder, config, args.cores)
    show(f"calibrate, --cores {args.cores}", found)
    n = count_cohorts(folder, config)
    print(f"{n:,} cohorts: {1e3 * found['cpu'] / n:.1f} ms of CPU each")
