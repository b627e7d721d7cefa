"""From simulated BOLD to attenuation and its tests: what is planted is found, what is not is not.

The cohort is `planted.CLEAR`. Standard errors come from the table tests/reference/recovery.tsv,
made of 36 other people by the script beside it, and shrink with the root of the people here.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import line
import numpy as np
import pandas as pd
import planted
import pytest

from handhold import attenuation, glm, simulate
from handhold.tracking import assess_tracking

REFERENCE = Path(__file__).parent / "reference"
REPLICATES = pd.read_csv(REFERENCE / "recovery.tsv", sep="\t")
SEED = 4
TR = planted.CLEAR.protocol.tr_s
# Tracking is nearly perfect and each person's map of attenuation is hardly their own, so that
# six people show it.
COHORT = replace(planted.CLEAR, seed=SEED, tracking_r=0.95, rating_reliability=0.95)


def standard_errors(n: pd.Series) -> pd.Series:
    """Return the standard error of the mean error of `n` people, indexed by measure, contrast."""
    sd = REPLICATES.set_index(["measure", "contrast"])["sd_error"]
    return sd / np.sqrt(n)


@dataclass(frozen=True)
class Found:
    """What the line made of the cohort, step by step."""

    study: line.Line
    runs: pd.DataFrame
    trials: dict
    designs: dict
    manifest: pd.DataFrame

    def cells(self) -> dict[str, pd.DataFrame]:
        return self.study.read(self.manifest)

    def again(self, designs: dict) -> "Found":
        """Fit again with other designs."""
        return replace(self, manifest=self.study.fit(self.runs, designs))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    study = line.Line.write(COHORT, tmp_path_factory.mktemp("clear"))
    runs = study.runs()
    trials = study.trials(runs)
    designs = study.design(runs, trials)
    return Found(study, runs, trials, designs, study.fit(runs, designs))


@pytest.fixture(scope="module")
def cells(found):
    return found.cells()


def judge(found: Found, cells: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Put the mean of every estimand over people beside its tolerance."""
    errors = planted.compare_all(found.study, found.manifest, cells)
    summary = (
        errors.dropna(subset=["error"])
        .groupby(["measure", "contrast"], sort=False)
        .agg(n=("error", "count"), planted=("planted", "mean"), error=("error", "mean"))
    )
    return summary.assign(limit=4 * standard_errors(summary["n"]))


def is_recovered(judged: pd.DataFrame) -> bool:
    return bool((judged["error"].abs() < judged["limit"]).all())


def test_planted_effects_attenuations_and_slopes_are_recovered(found, cells):
    judged = judge(found, cells)
    assert len(judged) == 4 * (2 + 2) + 2
    assert is_recovered(judged), judged
    # A lost sign errs by twice the effect, a lost cell by more than half of it.
    partner = judged.xs("partner", level="contrast")
    assert (partner["limit"] < partner["planted"] / 2).all()
    assert (judged["limit"] < judged["planted"]).all()


def test_the_standard_errors_are_those_of_an_unbiased_line():
    """The replicates err by nothing on average; a bias would widen no tolerance here."""
    t = REPLICATES["mean_error"] / (REPLICATES["sd_error"] / np.sqrt(REPLICATES["n"]))
    assert (t.abs() < 4).all()
    partner = REPLICATES[REPLICATES["contrast"] == "partner"]
    assert (partner["sd_error"] < partner["planted"] / 2).all()


# What must not pass


def swap(trials: dict, one: str, other: str) -> dict:
    """Exchange two hands in the events."""
    names = {one: other, other: one}
    swapped = {}
    for key, events in trials.items():
        condition = events["condition"].replace(names)
        cells = events["condition"].notna()
        regressor = (condition + "_" + events["cue"]).where(cells, events["regressor"])
        swapped[key] = events.assign(condition=condition, regressor=regressor)
    return swapped


def shift(trials: dict, seconds: float) -> dict:
    """Move every event."""
    return {
        key: events.assign(onset=events["onset"] + seconds)
        for key, events in trials.items()
    }


def redesign(found: Found, trials: dict | None = None, **glm_keys) -> dict:
    """Design again with other events or other keys of the section glm."""
    config = found.study.config
    config = {**config, "glm": {**config["glm"], **glm_keys}}
    study = replace(found.study, config=config)
    return study.design(found.runs, found.trials if trials is None else trials)


def without_peak(found: Found) -> dict:
    return {
        subject: {name: replace(each, peak=1.0) for name, each in own.items()}
        for subject, own in found.designs.items()
    }


MISTAKES = {
    "alone and partner exchanged": lambda f: redesign(
        f, swap(f.trials, "alone", "partner")
    ),
    "events a volume late": lambda f: redesign(f, shift(f.trials, TR)),
    "events a volume early": lambda f: redesign(f, shift(f.trials, -TR)),
    "volumes at their beginning": lambda f: redesign(f, slice_time_ref=0.0),
    "no peak": without_peak,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_design_is_not_recovered(found, mistake):
    wrong = found.again(MISTAKES[mistake](found))
    judged = judge(wrong, wrong.cells())
    assert not is_recovered(judged)


def test_a_lost_sign_is_not_recovered(found, cells, monkeypatch):
    monkeypatch.setattr(
        attenuation, "attenuation", lambda baseline, held: held - baseline
    )
    judged = judge(found, cells).drop(index=["alone threat", "alone safe"], level=1)
    assert len(judged) == 4 * 2 + 2
    assert (judged["error"].abs() > judged["limit"]).all()


# Tracking


def test_planted_tracking_is_recovered(found, cells):
    """r of recovered attenuation with relief is r of planted attenuation with it.

    An error e of attenuation x moves r by the part of e that goes with what x leaves of relief:
    its standard deviation is sd(e) / sd(x) * sqrt((1 - r^2) / (n - 1)), and r shrinks by
    r / 2 * (sd(e) / sd(x))^2.
    """
    study = found.study
    both = planted.compare(
        study.cohort,
        study.template,
        study.regions.clouds["rois"],
        found.manifest,
        study.attenuate(cells)["rois"],
    ).dropna(subset=["attenuation"])
    tests = assess_tracking(
        both,
        study.relieve(),
        study.config["tests"],
        study.config["verdicts"],
        np.random.default_rng(1),
    ).set_index(["region", "contrast"])
    errors = REPLICATES.set_index(["measure", "contrast"])["sd_error"]
    told = simulate.simulate_ratings(COHORT).pivot(
        index="participant_id", columns="condition", values="unpleasantness"
    )
    relief = (told["alone"] - told["partner"]).rename(lambda name: name[4:])
    own = both[both["contrast"] == "partner"]
    own = own.assign(relief=own["subject"].map(relief))
    complete = own.groupby("region").filter(lambda people: len(people) == 6)
    assert complete["region"].nunique() >= 3
    for region, people in complete.groupby("region"):
        r = people["planted"].corr(people["relief"])
        share = errors[region, "partner"] / people["planted"].std()
        error = share * np.sqrt((1 - r**2) / (len(people) - 1)) + r / 2 * share**2
        recovered = tests.loc[(region, "partner"), "effect"]
        # a lost sign would err by 2 r
        assert abs(recovered - r) < 4 * error < r, region


# Runs of one cell

# Percents of noise in the worse run, over those in the better one.
WORSE = 30


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Two people of whom two runs hold the same hand, one of them in far more noise."""
    cohort = replace(planted.CLEAR, n_subjects=2, seed=SEED, stranger_fraction=1.0)
    percents = ("thermal_sd", "smooth_sd", "drift_sd", "physio_sd")
    noise = {name: WORSE * getattr(cohort.noise, name) for name in percents}
    worse = replace(cohort, noise=replace(cohort.noise, **noise))
    study = line.Line.write(
        cohort,
        tmp_path_factory.mktemp("better"),
        contrasts=[{"name": "held", "baseline": "alone", "held": "held"}],
        events={"rename": {"stranger": "held", "partner": "held"}},
    )
    runs = study.runs()
    others = line.Line.write(worse, tmp_path_factory.mktemp("worse")).runs()
    noisy = [
        simulate.block_order(int(row.subject) - 1)[int(row.run) - 1] == "partner"
        for row in runs.itertuples()
    ]
    runs[noisy] = others[noisy]
    return study, runs, study.design(runs, study.trials(runs))


def held(twice: tuple) -> pd.DataFrame:
    """Return planted and recovered attenuation of `twice` by person and ROI.

    Column clean is the standard error that the better run has alone.
    """
    study, runs, designs = twice
    manifest = study.fit(runs, designs)
    attenuated = study.attenuate(study.read(manifest))["rois"]
    found = planted.compare(
        study.cohort,
        study.template,
        study.regions.clouds["rois"],
        manifest,
        attenuated.assign(contrast="partner"),
    ).dropna(subset=["error"])
    errors = REPLICATES[REPLICATES["contrast"] == "partner"].set_index("measure")
    return found.assign(clean=found["region"].map(errors["sd_error"]))


def test_runs_of_one_cell_are_combined_by_precision(twice):
    found = held(twice)
    assert len(found) >= 6
    assert (found["error"].abs() < 4 * found["clean"]).all(), found


def test_runs_combined_without_precision_are_not_recovered(twice, monkeypatch):
    def mean(effects, variances):
        known = np.isfinite(effects)
        n = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
        effect, variance = (
            np.where(known, each, 0).sum(axis=0) for each in (effects, variances)
        )
        return effect / n, variance / n**2

    monkeypatch.setattr(glm, "combine_runs", mean)
    found = held(twice)
    assert (found["error"].abs() > 4 * found["clean"]).any(), found
