"""Q4 from parcels to verdict: a planted bond of coupling and relief, its sign, and no bond."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold.parcels import couple_subjects, select_parcels
from handhold.tracking import assess_coupling
from handhold.verdicts import answer_coupling, judge_rows
from rules import THRESHOLDS

TESTS = {
    "n_permutations": 999,
    "n_bootstrap": 999,
    "level": 0.95,
    "bayes_kappa": 1 / 3,
    "sensitivity_kappas": [1 / 3],
}
N_CORTEX, N_SUBCORTEX = 100, 20
N_PARCELS = N_CORTEX + N_SUBCORTEX
REGIONS = [f"p{i:03}" for i in range(N_PARCELS)]
STRUCTURE = np.repeat(["cortex", "subcortex"], [N_CORTEX, N_SUBCORTEX])


class People:
    """People whose attenuation follows binding by `r` (n_people,) on average, and relief.

    Within each structure attenuation is r * binding + sqrt(1 - r^2) * noise, both of variance 1:
    its correlation over 120 parcels is r, with a standard error of Fisher's z of about
    1 / sqrt(117). The step between the structures is the same for everyone.
    """

    def __init__(self, rng, r, relief):
        binding = unit(rng.normal(size=(1, N_PARCELS)))[0]
        noise = rng.normal(size=(len(r), N_PARCELS))
        r = np.asarray(r)[:, np.newaxis]
        values = r * binding + np.sqrt(1 - r**2) * noise
        step = 4.0 * (STRUCTURE == "subcortex")
        self.binding, self.values = binding + step, values + step
        self.names = [f"{i:02}" for i in range(len(r))]
        self.relief = pd.DataFrame(
            {"subject": self.names, "contrast": "partner", "relief": relief}
        )
        self.places = pd.DataFrame(
            rng.uniform(-60, 60, size=(N_PARCELS, 3)), columns=["x", "y", "z"]
        ).assign(region=REGIONS)

    def coupling(self, method="pearson"):
        wide = pd.DataFrame(self.values, self.names, REGIONS)
        wide = wide.rename_axis("subject").rename_axis("region", axis=1)
        attenuation = wide.stack().rename("attenuation").reset_index()
        attenuation = attenuation.assign(contrast="partner")
        receptors = pd.DataFrame(
            {"region": REGIONS, "structure": STRUCTURE, "binding": self.binding}
        ).assign(receptor="mu")
        parcels = select_parcels(
            attenuation,
            receptors,
            self.places,
            target="mu",
            min_subjects=0.8,
            min_parcels=100,
        )
        return couple_subjects(attenuation, parcels, method=method)

    def answer(self, rng, **more):
        table = assess_coupling(
            self.coupling(**more), self.relief, TESTS, THRESHOLDS, rng
        )
        judged = judge_rows(table, "p", THRESHOLDS)
        return judged.iloc[0], answer_coupling(judged, "partner", "mu-opioid")


def unit(maps):
    """Give maps mean 0 and variance 1 within each structure."""
    maps = maps.copy()
    for name in np.unique(STRUCTURE):
        own = maps[:, name == STRUCTURE]
        maps[:, name == STRUCTURE] = (own - own.mean()) / own.std()
    return maps


def bonded(rng, n=40, bond=0.8, sign=1):
    """Draw correlations between -.6 and .6, and relief that goes with their Fisher z."""
    z = rng.normal(0, 0.3, size=n)
    relief = bond * z / 0.3 + np.sqrt(1 - bond**2) * rng.normal(size=n)
    return People(rng, np.tanh(z), 10 + 4 * sign * relief), z


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_how_closely_each_person_follows_is_recovered(method, rng):
    people, z = bonded(rng)
    found = people.coupling(method=method)
    assert found["subject"].tolist() == people.names
    error = found["fisher_z"].to_numpy() - z
    # the standard error of z; ranks see .95 of a normal correlation, at most .05 less of z
    limit = 1 / np.sqrt(N_PARCELS - 3 - 1)
    assert np.abs(error).max() < 4 * limit + (0.05 if method == "spearman" else 0)
    assert error.std() < 1.3 * limit


def test_a_planted_bond_is_supported_in_its_direction(rng):
    people, z = bonded(rng)
    row, answer = people.answer(rng)
    # what error of z leaves of the planted .8: z varies by .3, its error by .093
    expected = 0.8 * 0.3 / np.hypot(0.3, 1 / np.sqrt(N_PARCELS - 4))
    truth = stats.pearsonr(z, people.relief["relief"]).statistic
    assert abs(row["effect"] - truth * expected / 0.8) < 4 * (
        1 - expected**2
    ) / np.sqrt(40)
    assert row["effect"] > 0
    assert row["p"] == 1 / 1000
    assert answer["question"] == "Q4"
    assert answer["verdict"] == "supported"
    assert "more closely report more relief" in answer["sentence"]


def test_the_opposite_bond_is_evidence_against(rng):
    people, _ = bonded(rng, sign=-1)
    row, answer = people.answer(rng)
    assert row["effect"] < -0.4
    assert answer["verdict"] == "evidence against"
    assert "opposite direction" in answer["reason"]


def test_a_bond_of_size_with_relief_is_not_coupling(rng):
    """People who are calmed more, everywhere alike, and relieved more: no closer to the map."""
    size = rng.uniform(0.5, 3, size=40)
    people = People(rng, np.full(40, 0.3), 10 * size)
    people.values = size[:, np.newaxis] * (people.values + 2)
    row, _ = people.answer(rng)
    assert abs(row["effect"]) < 4 / np.sqrt(40)
    means = people.values.mean(axis=1)
    assert stats.pearsonr(means, people.relief["relief"]).statistic > 0.9


def test_without_a_bond_p_is_uniform(rng):
    """60 studies of 15 people who differ in coupling and in relief, one not by the other."""
    few = {**TESTS, "n_permutations": 199, "n_bootstrap": 100}
    coupling = [bonded(rng, n=15, bond=0)[0].coupling() for _ in range(6)]
    p = []
    for own in coupling:
        for _ in range(10):
            relief = pd.DataFrame(
                {
                    "subject": own["subject"],
                    "contrast": "partner",
                    "relief": rng.normal(size=15),
                }
            )
            p.append(assess_coupling(own, relief, few, THRESHOLDS, rng)["p"].item())
    # ties of 199 permutations put p on a lattice of .005, which the test does not mind
    assert stats.kstest(p, "uniform").pvalue > 0.001
    rejected = np.mean(np.array(p) <= 0.05)
    assert abs(rejected - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 60)
