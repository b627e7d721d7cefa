"""The study repeated: worlds hold what they claim, and are judged as the study is."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold import calibrate, rates, spec, tracking, verdicts, worlds
from handhold.attenuation import assess_attenuation
from handhold.correlation import Skipped
from handhold.correspondence import within_r
from handhold.errors import StudyError
from handhold.fields import Covariance
from handhold.nulls import euclidean
from handhold.parcels import assess_correspondence, assess_specificity, couple_subjects
from handhold.replica import Noise, describe_study, fit_noise
from handhold.tracking import assess_coupling, assess_tracking
from handhold.variogram import root
from handhold.worlds import World

N_CORTEX, N_SUBCORTEX, ROIS = 48, 14, ("vACC", "striatum", "insula")
MAPS = ["target", "other", "third"]
CONFIG = spec.resolve(
    {
        "study": "s",
        "title": "S",
        "source": "simulated",
        "seed": 1,
        "contrasts": [
            {"name": "partner", "baseline": "alone", "held": "partner"},
            {"name": "stranger", "baseline": "alone", "held": "stranger"},
            {"name": "over", "baseline": "stranger", "held": "partner"},
        ],
        "receptors": {"target": "MOR_modelled", "panel": ["decoy_front"]},
        "regions": {"definitions": ["aal3"]},
        "tests": {"n_permutations": 999, "n_bootstrap": 999},
        "nulls": {"n": 999, "n_beside": 999, "families": ["moran", "gaussian"]},
        "calibrate": {"n_permutations": 999},
    }
)
CHOICES = calibrate.Choices(
    *(CONFIG[name] for name in ("tests", "nulls", "verdicts", "calibrate"))
)
SIZES = CONFIG["calibrate"]


class Study:
    """Tables of a study of drawn numbers: every kind that the calibration reads."""

    def __init__(self, n_subjects, seed=5, contrasts=("partner", "stranger", "over")):
        rng = np.random.default_rng(seed)
        n = N_CORTEX + N_SUBCORTEX
        self.regions = [f"p{i}" for i in range(n)]
        self.people = [f"s{i}" for i in range(n_subjects)]
        self.structure = np.repeat(["cortex", "subcortex"], [N_CORTEX, N_SUBCORTEX])
        self.places = rng.uniform(-60, 60, size=(n, 3))
        smooth = root(np.exp(-euclidean(self.places) / 40))
        self.bindings = np.exp(smooth @ rng.standard_normal((n, len(MAPS)))).T
        self.own = pd.DataFrame(
            {
                **{"contrast": contrasts[0], "region": self.regions, "used": True},
                **{"structure": self.structure, "binding": self.bindings[0]},
                **dict(zip("xyz", self.places.T, strict=True)),
                "receptor": "target",
            }
        )
        self.definitions = pd.DataFrame(
            {
                **{"kind": "roi", "definition": "aal3", "region": ROIS},
                **dict(zip("xyz", rng.uniform(-50, 50, size=(3, 3)), strict=True)),
            }
        )
        self.receptors = pd.DataFrame(
            [
                {"receptor": name, "region": region, "binding": value}
                for name, values in zip(MAPS, self.bindings, strict=True)
                for region, value in zip(self.regions, values, strict=True)
            ]
        )
        noise = rng.standard_normal((n_subjects, len(contrasts), n)) @ smooth.T
        of_rois = rng.standard_normal((n_subjects, len(contrasts), len(ROIS)))
        of_rois += rng.standard_normal((n_subjects, 1, 1))
        self.fill(noise, of_rois, rng.normal(size=n_subjects), contrasts)

    def fill(self, parcels, rois, relief, contrasts, baselines=None):
        """Make tables of arrays (n_subjects, n_contrasts, n_regions)."""
        self.attenuation = self._long(parcels, self.regions, contrasts)
        self.rois = self._long(rois, ROIS, contrasts).assign(
            definition="aal3", hemisphere="both", role="hypothesised"
        )
        rated = np.isfinite(relief)
        self.relief = pd.DataFrame(
            {"subject": self.people, "contrast": contrasts[0], "relief": relief}
        )[rated].assign(baseline=np.nan)
        if baselines is not None:
            self.relief["baseline"] = baselines[rated, 0, 0]
            response = np.full(rois.shape, np.nan)
            response[:, 0] = baselines[:, 1]
            self.rois["response_baseline"] = response.ravel()
            # of parcels: coupled to the map in another way in every person
            own = self.attenuation["contrast"] == contrasts[0]
            alone = np.random.default_rng(1).standard_normal(own.sum())
            self.attenuation.loc[own, "response_baseline"] = alone

    def _long(self, values, regions, contrasts):
        keys = [self.people, list(contrasts), list(regions)]
        index = pd.MultiIndex.from_product(
            keys, names=["subject", "contrast", "region"]
        )
        return pd.Series(values.ravel(), index=index, name="attenuation").reset_index()

    def describe(self, **changes):
        tables = (self.attenuation, self.rois, self.own, self.definitions, self.relief)
        chosen = {
            "contrasts": CONFIG["contrasts"],
            "definition": "aal3",
            "ranked": True,
            "given": {},
            **changes,
        }
        return describe_study(*tables, None, **chosen)

    def yardsticks(self):
        panel = self.receptors.pivot(
            index="region", columns="receptor", values="binding"
        )[MAPS]
        return calibrate.draw_yardsticks(self.own, panel, CONFIG["nulls"], 7)


@pytest.fixture(scope="module")
def study():
    return Study(20)


@pytest.fixture(scope="module")
def design(study):
    return study.describe()


@pytest.fixture(scope="module")
def yardsticks(study):
    return study.yardsticks()


# --- how people differ ------------------------------------------------------------------


def test_a_planted_covariance_is_recovered():
    rng = np.random.default_rng(3)
    places = rng.uniform(-50, 50, size=(150, 3))
    structure = np.repeat(["cortex", "subcortex"], [110, 40])
    planted = Noise(
        {
            "cortex": Covariance(0.2, 0.5, 25.0, 1.0),
            "subcortex": Covariance(0.1, 0.6, 15.0, 1.0),
        },
        link=0.6,
    )
    correlation = planted.correlation(euclidean(places), structure)
    people = rng.standard_normal((400, 150)) @ root(correlation).T
    people = 3 + people * rng.uniform(0.5, 2, size=150)  # any mean, any spread
    people[rng.random(people.shape) < 0.1] = np.nan
    found = fit_noise(people, places, structure)
    # 400 people: a correlation has a standard error of at most .05, and a mean over hundreds
    # of pairs, nearly all of them apart, a far smaller one; the shared part, common to all
    # pairs, keeps about .3 * sqrt(2 / 400) = .02
    recovered = found.correlation(euclidean(places), structure)
    for one in ("cortex", "subcortex"):
        for other in ("cortex", "subcortex"):
            block = np.ix_(structure == one, structure == other)
            error = (recovered - correlation)[block]
            assert abs(error.mean()) < 0.05
            assert np.sqrt((error**2).mean()) < 0.08
    assert found.link == pytest.approx(0.6, abs=0.15)
    assert found.covariances["cortex"].nugget == pytest.approx(0.2, abs=0.08)


def test_fields_stop_at_the_border_without_a_link():
    noise = Noise({name: Covariance(0.1, 0.5, 20.0, 1.0) for name in "ab"}, link=0.0)
    structure = np.array(["a", "a", "b"])
    distance = euclidean(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]))
    found = noise.correlation(distance, structure)
    assert (found[2, :2] == 0).all()
    # near each other: all but the nugget; diagonal 1
    assert 0.8 < found[0, 1] < 0.9
    assert found.diagonal() == pytest.approx(1)


def test_rois_correlate_as_those_of_the_study(study, design):
    wide = study.rois[study.rois["contrast"] == "partner"].pivot(
        index="subject", columns="region", values="attenuation"
    )
    rows = design.noise_root[len(design.binding) :]
    expected = wide[list(design.regions)].corr().to_numpy()
    assert rows @ rows.T == pytest.approx(expected, abs=1e-8)
    # and with the parcels they still make a possible correlation
    joint = design.noise_root @ design.noise_root.T
    assert np.linalg.eigvalsh(joint).min() > -1e-9
    assert joint.diagonal() == pytest.approx(1)


def test_contrasts_correlate_as_those_of_the_study(study, design):
    values = np.stack(
        [
            study.rois[study.rois["contrast"] == contrast["name"]]
            .pivot(index="subject", columns="region", values="attenuation")
            .to_numpy()
            for contrast in CONFIG["contrasts"]
        ],
        axis=1,
    )
    expected = np.mean(
        [np.corrcoef(values[..., roi], rowvar=False) for roi in range(3)], axis=0
    )
    lower = design.contrast_root
    assert lower @ lower.T == pytest.approx(expected)
    assert lower == pytest.approx(np.tril(lower))
    # alone - partner, alone - stranger, stranger - partner, if only partners calm
    assert list(design.contrast_share) == [1, 0, 1]
    turned = {"name": "over", "baseline": "partner", "held": "stranger"}
    contrasts = [*CONFIG["contrasts"][:2], turned]
    assert list(study.describe(contrasts=contrasts).contrast_share) == [1, 0, -1]


def test_reliability_bounds_what_can_be_planted(study):
    given = {"reliability_attenuation": 0.5, "reliability_relief": 0.72}
    design = study.describe(given=given)
    assert design.tracking_ceiling == pytest.approx(0.6)
    assert design.coupling_ceiling == pytest.approx(np.sqrt(0.72))
    assert World("follows", design, SIZES).tracking_r == pytest.approx(0.3)


def test_too_few_people_and_people_who_are_all_the_same_are_refused():
    with pytest.raises(StudyError, match=r"has 5 people.*at least 6"):
        Study(5).describe()
    study = Study(8)
    study.attenuation.loc[study.attenuation["region"] == "p3", "attenuation"] = 0.25
    with pytest.raises(StudyError, match=r"same attenuation in 1 of 65 regions \(p3\)"):
        study.describe()


# --- worlds -----------------------------------------------------------------------------


def mean_map(world, n_draws, seed=1):
    rng = np.random.default_rng(seed)
    return np.stack([world.pattern(rng) for _ in range(n_draws)])


def test_the_true_map_is_where_the_world_says(design):
    binding, structure = design.binding, design.structure
    follows = mean_map(World("follows", design, SIZES), 5)
    for name in np.unique(structure):
        own = structure == name
        r = within_r(follows[:, own], binding[own], structure[own])
        assert r == pytest.approx(SIZES["map_r"])
    axis = mean_map(World("axis", design, SIZES), 1)
    y = worlds.z_within(design.coordinates[:, 1], structure)
    assert axis[0] == pytest.approx(y)
    elsewhere = within_r(
        mean_map(World("elsewhere", design, SIZES), 400), binding, structure
    )
    assert abs(elsewhere.mean()) < 4 * elsewhere.std() / np.sqrt(400)
    assert 0.1 < elsewhere.std() < 0.6
    assert not mean_map(World("nothing", design, SIZES), 1).any()
    for maps in (follows, axis):
        for name in np.unique(structure):
            own = maps[:, structure == name]
            assert own.mean(axis=1) == pytest.approx(0, abs=1e-9)
            assert own.var(axis=1) == pytest.approx(1)


def test_the_map_of_elsewhere_is_as_smooth_as_the_receptor_map(design):
    """Neighbours correlate as they do in a map of the fitted covariance, far ones less."""
    maps = mean_map(World("elsewhere", design, SIZES), 500)
    cortex = design.structure == "cortex"
    distance = euclidean(design.coordinates[cortex])
    near = (distance > 0) & (distance < 25)
    far = distance > 60
    products = maps[:, cortex].T @ maps[:, cortex] / 500
    assert products[near].mean() > products[far].mean() + 0.2


@pytest.mark.parametrize("name", worlds.WORLDS)
def test_rois_have_the_planted_mean(design, name):
    world = World(name, design, SIZES)
    cohort = world.draw(4000, np.random.default_rng(2))
    dz = cohort.rois.mean(axis=0) / cohort.rois.std(axis=0)
    planted = 0.0 if name == "nothing" else SIZES["attenuation_dz"]
    # variance of d_z is (1 + d_z^2 / 2) / n; four standard errors
    assert dz[0] == pytest.approx(planted, abs=4 * np.sqrt(1.125 / 4000))
    assert cohort.rois[:, 0].std(axis=0) == pytest.approx(design.roi_sd[0], rel=0.06)
    # the stranger's hand does nothing, and partner less stranger what partner does
    assert dz[1] == pytest.approx(0, abs=4 / np.sqrt(4000))
    mean = cohort.rois.mean(axis=0)
    error = design.roi_sd[2] / np.sqrt(4000)
    assert (abs(mean[2] - planted * design.roi_sd[0]) < 4 * error).all()


def test_the_spread_of_the_group_map_is_planted(design):
    world = World("axis", design, SIZES)
    group = world.draw(20000, np.random.default_rng(4)).parcels.mean(axis=0)
    spread = np.sqrt((design.sd**2).mean())
    pattern = (group / spread - SIZES["attenuation_dz"]) / SIZES["map_dz"]
    # what 20,000 people leave of the noise is .007 of it, over .25
    error = design.sd / spread / np.sqrt(20000) / SIZES["map_dz"]
    assert (np.abs(pattern - world.pattern(None)) < 4.5 * error).all()


def with_baselines(n_subjects=24, seed=6, bond=0.0):
    """A study in which attenuation goes with the response, and relief with the score, alone."""
    study, rng = Study(n_subjects), np.random.default_rng(seed)
    response = rng.standard_normal((n_subjects, 3))
    score, relief = rng.standard_normal((2, n_subjects))
    response += bond * score[:, None]
    rois = rng.standard_normal((n_subjects, 3, 3))
    rois[:, 0] += 0.7 * response
    parcels = rng.standard_normal((n_subjects, 3, len(study.regions)))
    # what `fill` gives as the parcels' response alone: attenuation goes with it, too
    alone = np.random.default_rng(1).standard_normal(parcels[:, 0].size)
    parcels[:, 0] += alone.reshape(parcels[:, 0].shape)
    baselines = np.stack([np.repeat(score[:, None], 3, axis=1), response], axis=1)
    names = [contrast["name"] for contrast in CONFIG["contrasts"]]
    study.fill(parcels, rois, relief + 0.6 * score, names, baselines)
    return study


def partial_r(x, y, covariates):
    basis = np.column_stack([np.ones(len(x)), covariates])
    left = [v - basis @ np.linalg.lstsq(basis, v, rcond=None)[0] for v in (x, y)]
    return np.corrcoef(*left)[0, 1]


@pytest.mark.parametrize("name", ["follows", "elsewhere"])
def test_relief_goes_with_attenuation_as_planted(name):
    study = with_baselines()
    design = study.describe()
    assert design.adjusted
    own = study.rois[study.rois["contrast"] == "partner"]
    found = [
        np.arctanh(group["attenuation"].corr(group["response_baseline"]))
        for _, group in own.groupby("region")
    ]
    assert design.response_r == pytest.approx(np.tanh(np.mean(found)))
    assert design.score_r == pytest.approx(
        study.relief["relief"].corr(study.relief["baseline"])
    )
    z = {
        values: study.attenuation.query("contrast == 'partner'")
        .pivot(index="subject", columns="region", values=values)
        .loc[study.people, study.regions]
        .apply(
            lambda row: np.arctanh(
                within_r(row.to_numpy(), study.bindings[0], study.structure, True)
            ),
            axis=1,
        )
        for values in ("attenuation", "response_baseline")
    }
    bond = z["attenuation"].corr(z["response_baseline"])
    assert 0.3 < bond == pytest.approx(design.coupling_response_r)
    world = World(name, design, {**SIZES, "tracking_r": 0.35, "coupling_r": 0.3})
    n = 20000
    cohort = world.draw(n, np.random.default_rng(8))
    cohort = replace(cohort, relief=np.nan_to_num(cohort.relief))
    planted = (0.35, 0.3) if name == "follows" else (0.0, 0.0)
    assert (world.tracking_r, world.coupling_r) == pytest.approx(planted)
    for roi in range(3):
        r = partial_r(cohort.rois[:, 0, roi], cohort.relief, cohort.baselines[..., roi])
        assert r == pytest.approx(planted[0], abs=4 / np.sqrt(n))
        bond = np.corrcoef(cohort.rois[:, 0, roi], cohort.baselines[:, 1, roi])[0, 1]
        assert bond == pytest.approx(design.response_r, abs=4 / np.sqrt(n))
    coupled = cohort.parcels @ world._coupling
    r = partial_r(coupled, cohort.relief, cohort.coupling_baselines)
    assert r == pytest.approx(planted[1], abs=4 / np.sqrt(n))
    score, of_response = cohort.coupling_baselines.T
    assert (score == cohort.baselines[:, 0, 0]).all()
    found = np.corrcoef(coupled, of_response)[0, 1]
    assert found == pytest.approx(design.coupling_response_r, abs=4 / np.sqrt(n))


def test_coupling_is_planted_alike_where_only_its_own_baseline_is_known():
    design = replace(with_baselines().describe(), response_r=np.nan)
    assert (design.adjusted, design.coupling_adjusted) == (False, True)
    sizes = {**SIZES, "tracking_r": 0.3, "coupling_r": 0.35}
    world, n = World("follows", design, sizes), 20000
    cohort = world.draw(n, np.random.default_rng(9))
    relief = np.nan_to_num(cohort.relief)
    assert cohort.baselines is None
    found = [
        np.corrcoef(cohort.rois[:, 0, 1], relief)[0, 1],
        partial_r(cohort.parcels @ world._coupling, relief, cohort.coupling_baselines),
    ]
    assert found == pytest.approx([0.3, 0.35], abs=4 / np.sqrt(n))


def test_baselines_go_together_as_the_study_s_own_do_and_nothing_else_does():
    design = replace(with_baselines(bond=0.5).describe(), coupling_baseline_r=-0.3)
    bonds = [design.baseline_r, -0.3]
    assert bonds[0] > 0.2
    world, n = World("baselines", design, SIZES), 20000
    assert [world.baseline_r, world.coupling_baseline_r] == pytest.approx(bonds)
    cohort = world.draw(n, np.random.default_rng(8))
    relief = np.nan_to_num(cohort.relief)
    # a correlation has a standard error of at most 1 / sqrt(n)
    error = 4 / np.sqrt(n)
    score = cohort.baselines[:, 0, 0]
    assert np.corrcoef(score, relief)[0, 1] == pytest.approx(design.score_r, abs=error)
    coupled, of_response = cohort.parcels @ world._coupling, cohort.coupling_baselines
    assert (of_response[:, 0] == score).all()
    measures = [(cohort.rois[:, 0, i], cohort.baselines[:, 1, i]) for i in range(3)]
    measures.append((coupled, of_response[:, 1]))
    planted = [(design.response_r, bonds[0])] * 3
    planted.append((design.coupling_response_r, bonds[1]))
    for (change, alone), (b, r) in zip(measures, planted, strict=True):
        found = np.corrcoef([change, alone, relief, score])
        assert found[0, 2] == pytest.approx(0, abs=error)
        assert found[0, 3] == pytest.approx(0, abs=error)
        assert found[0, 1] == pytest.approx(b, abs=error)
        assert found[1, 3] == pytest.approx(r, abs=error)
        # the response goes with relief neither: all that it shares with the score is no change
        assert found[1, 2] == pytest.approx(0, abs=error)
    # attenuation lies where it lies in `elsewhere`
    assert world.map_r == 0
    one, other = (
        World(name, design, SIZES).pattern(np.random.default_rng(1))
        for name in ("baselines", "elsewhere")
    )
    assert (one == other).all()


def test_the_bond_of_baselines_is_the_study_s_own():
    study = with_baselines(bond=0.5)
    design = study.describe()
    own = study.rois[study.rois["contrast"] == "partner"]
    score = own["subject"].map(study.relief.set_index("subject")["baseline"])
    found = [
        np.arctanh(group["response_baseline"].corr(score[group.index]))
        for _, group in own.groupby("region")
    ]
    assert design.baseline_r == pytest.approx(np.tanh(np.mean(found)))
    alone = study.attenuation.query("contrast == 'partner'").pivot(
        index="subject", columns="region", values="response_baseline"
    )
    z = [
        np.arctanh(within_r(row, study.bindings[0], study.structure, True))
        for row in alone.loc[study.people, study.regions].to_numpy()
    ]
    found = np.corrcoef(z, study.relief["baseline"])[0, 1]
    assert design.coupling_baseline_r == pytest.approx(found)
    # one person's score is not known: the model of the study holds none constant
    study.relief.loc[3, "baseline"] = np.nan
    design = study.describe()
    assert np.isnan([design.baseline_r, design.coupling_baseline_r]).all()


def test_baselines_that_cannot_go_together_so_far_go_as_far_as_they_can():
    design = replace(
        with_baselines().describe(), response_r=0.8, score_r=0.6, baseline_r=0.9
    )
    world, n = World("baselines", design, SIZES), 20000
    # what attenuation and relief leave of the two: .6 and .8 of their spread
    assert world.baseline_r == pytest.approx(0.95 * 0.6 * 0.8)
    cohort = world.draw(n, np.random.default_rng(3))
    score, response = cohort.baselines[:, 0, 0], cohort.baselines[:, 1, 1]
    found = np.corrcoef(score, response)[0, 1]
    assert found == pytest.approx(world.baseline_r, abs=4 / np.sqrt(n))


def test_measures_of_one_trait_with_error_are_such_a_world():
    """Each of four measures of two traits with its own error: what Lord's paradox is made of."""
    rng, n, reliability, rho = np.random.default_rng(6), 20000, 0.5, 0.8
    traits = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], n)
    alone, held = np.moveaxis(
        traits[:, None] + np.sqrt(1 / reliability - 1) * rng.standard_normal((n, 2, 2)),
        1,
        0,
    )
    (response, score), (change, relief) = alone.T, (alone - held).T
    found = np.corrcoef([change, response, relief, score])
    bonds = {"response_r": found[0, 1], "score_r": found[2, 3]}
    design = replace(with_baselines().describe(), **bonds, baseline_r=found[1, 3])
    cohort = World("baselines", design, SIZES).draw(n, rng)
    own = partial_r(
        cohort.rois[:, 0, 0], np.nan_to_num(cohort.relief), cohort.baselines[..., 0]
    )
    expected = partial_r(change, relief, np.column_stack([response, score]))
    assert abs(found[0, 2]) < 4 / np.sqrt(n) < expected
    assert own == pytest.approx(expected, abs=4 * np.sqrt(2 / n))


def test_equal_baselines_make_independent_changes_correlate(yardsticks):
    """Lord's paradox: the table has to say that what decides Q3 and Q4 errs here."""
    bonds = {"response_r": 0.7, "score_r": 0.6, "baseline_r": 0.5}
    bonds |= {"coupling_response_r": 0.7, "coupling_baseline_r": 0.5}
    design = replace(with_baselines().describe(), **bonds)
    # of normal variables, from their correlations alone: partial r of .66
    joint = np.array(
        [[1, 0, 0.7, 0], [0, 1, 0, 0.6], [0.7, 0, 1, 0.5], [0, 0.6, 0.5, 1]]
    )
    inverse = np.linalg.inv(joint)
    expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    cohort = World("baselines", design, SIZES).draw(20000, np.random.default_rng(4))
    relief = np.nan_to_num(cohort.relief)
    r = partial_r(cohort.rois[:, 0, 0], relief, cohort.baselines[..., 0])
    assert expected > 0.6
    assert r == pytest.approx(expected, abs=4 / np.sqrt(20000))
    few = replace(
        yardsticks, panel=yardsticks.panel[:0], bindings=yardsticks.bindings[:0]
    )
    n = 40
    tables = {
        name: rate(count(design, few, name, name, n_subjects=24, n=n)).set_index(
            ["question", "test"]
        )
        for name in ("baselines", "elsewhere")
    }
    deciding = [("Q3", "family-wise p in any ROI"), ("Q4", "permutation p")]
    errors = [*deciding, ("Q3", "supported"), ("Q4", "supported")]
    own = tables["baselines"].loc[errors]
    assert (own["meaning"] == "error").all()
    assert (own["rate"] > 0.25).all()
    assert (own["holds"] == "no").all()
    # where the baselines do not go together, at most 7 of 40 reject (p = .001 at .05)
    assert (tables["elsewhere"].loc[errors, "n_rejected"] <= 7).all()
    assert tables["baselines"].loc[("Q2", "supported"), "meaning"] == "error"
    assert tables["baselines"].loc[("Q1", "supported"), "meaning"] == "right"


def test_correlations_that_exclude_each_other_are_planted_as_far_as_they_can(design):
    sizes = {**SIZES, "tracking_r": 0.99, "coupling_r": 0.99}
    world = World("follows", design, sizes)
    assert 0.3 < world.tracking_r < 0.99
    assert world.tracking_r == pytest.approx(world.coupling_r)
    assert world._rest == pytest.approx(1 - worlds.MOST_EXPLAINED)


def test_gaps_are_those_of_the_study(design):
    has = np.ones_like(design.has_parcel)
    has[0, :5], has[3, 7] = False, False
    rated = np.arange(20) != 2
    gappy = replace(design, has_parcel=has, rated=rated)
    cohort = World("nothing", gappy, SIZES).draw(45, np.random.default_rng(1))
    people = np.arange(45) % 20
    assert (np.isfinite(cohort.parcels) == has[people]).all()
    assert (np.isfinite(cohort.relief) == rated[people]).all()
    # nobody of the first two would have parcel 0
    has[:2, 0] = False
    small = World("nothing", replace(design, has_parcel=has), SIZES)
    cohort = small.draw(2, np.random.default_rng(1))
    assert np.isfinite(cohort.parcels[:, 0]).all()
    assert np.isnan(cohort.parcels[0, 1])


def test_a_world_that_is_not_there_is_refused(design):
    with pytest.raises(ValueError, match="world is 'heaven'"):
        World("heaven", design, SIZES)


# --- judged as the study is ---------------------------------------------------------------


@pytest.mark.parametrize(("name", "baselines"), [("nothing", False), ("follows", True)])
def test_a_cohort_is_judged_as_a_study_with_these_values(name, baselines, monkeypatch):
    """Six people: all 64 flips and all 720 permutations are counted out, so p is exact."""
    # what takes most of the time and no verdict needs
    for interval in ("bca_interval", "partial_interval"):
        monkeypatch.setattr(tracking, interval, lambda *_, **__: (np.nan, np.nan))
    nobody = Skipped(np.nan, 0, np.zeros(6, bool))
    monkeypatch.setattr(tracking, "skipped", lambda *_: nobody)
    study = with_baselines(6, seed=2) if baselines else Study(6)
    design, yardsticks = study.describe(), study.yardsticks()
    assert design.adjusted == baselines
    sizes = {**SIZES, "attenuation_dz": 2.0, "map_dz": 0.6}
    world, rng = World(name, design, sizes), np.random.default_rng(4)
    cohorts = [world.draw(6, rng) for _ in range(8)]
    names = [contrast["name"] for contrast in CONFIG["contrasts"]]
    thresholds, tests = CONFIG["verdicts"], CONFIG["tests"]
    found = []
    for cohort in cohorts:
        # parcels are drawn of the primary contrast alone
        parcels = np.repeat(cohort.parcels[:, None], 3, axis=1)
        study.fill(parcels, cohort.rois, cohort.relief, names, cohort.baselines)
        found.append(
            assess_study(study, tests, thresholds, rng, cohort.coupling_baselines)
        )
    # several thresholds, so that p values and Bayes factors are told apart
    for alpha, bf_against in ((0.05, 1 / 3), (0.1, 1.0), (0.2, 0.7), (0.4, 0.9)):
        changed = {**thresholds, "alpha": alpha, "bf_against": bf_against}
        choices = replace(CHOICES, verdicts=changed)
        judged = calibrate.judge_cohorts(cohorts, design, yardsticks, choices, rng)
        for i, tables in enumerate(found):
            own = {key: rejected[i] for key, rejected in judged.items()}
            assert_judged_alike(own, tables, changed, baselines)


def assert_judged_alike(found, tables, thresholds, baselines):
    alpha = thresholds["alpha"]
    answer = verdicts.answer(
        judge_study(tables, thresholds),
        study="s",
        contrast="partner",
        definition="aal3",
        method="spearman",
        label="target",
        act="holding",
        verdicts=thresholds,
    )
    for question in answer["questions"]:
        said = [v for v in calibrate.VERDICTS if found[question["question"], v]]
        assert said == [question["verdict"]], question["question"]
    q2 = tables["Q2"].query("scope == 'all' and method == 'spearman'").iloc[0]
    for test, p in {
        "naive p": q2["p_naive"],
        "subject null": q2["p_subject"],
        "map null (Moran singleton)": q2["p_moran"],
        "map null (Gaussian field)": q2["p_gaussian"],
        "both nulls": q2["p"],
    }.items():
        assert found["Q2", test] == (p <= alpha), test
    column = {"Q1": ("p", "p_fwe")}
    column["Q3"] = ("p_partial", "p_partial_fwe") if baselines else ("p", "p_fwe")
    for question, (p, p_fwe) in column.items():
        own = tables[question].query("contrast == 'partner'").set_index("region")
        for roi in ROIS:
            assert found[question, f"p in {roi}"] == (own.loc[roi, p] <= alpha)
        family = found[question, "family-wise p in any ROI"]
        assert family == (own[p_fwe] <= alpha).any()
    q4 = tables["Q4"].query("contrast == 'partner'").iloc[0]
    p = q4["p_partial" if baselines else "p"]
    assert found["Q4", "permutation p"] == (p <= alpha)
    target = found["Q5", "target, family-wise p"]
    assert target == (tables["Q5"]["p_fwe"].iloc[0] <= alpha)


def assess_study(study, tests, thresholds, rng, coupling_baselines):
    """The tables of tests, as the rules of the workflow make them."""
    own = study.own.assign(
        group=study.attenuation.query("contrast == 'partner'")
        .groupby("region", sort=False)["attenuation"]
        .mean()
        .loc[study.regions]
        .to_numpy()
    )
    nulls = {**CONFIG["nulls"], "min_parcels": 10}
    q2, _ = assess_correspondence(
        study.attenuation, own, tests=tests, nulls=nulls, null_seed=7, rng=rng
    )
    maps = pd.DataFrame({"receptor": MAPS}).assign(label=MAPS, unit="", citation="")
    q5 = assess_specificity(
        own, study.receptors, maps, level=0.95, nulls=nulls, null_seed=7
    )
    coupling = couple_subjects(study.attenuation, own, method="spearman")
    primary = coupling["contrast"] == "partner"
    if coupling_baselines is None:
        assert coupling["fisher_z_baseline"].isna().all()
    else:
        coupling.loc[primary, "fisher_z_baseline"] = coupling_baselines[:, 1]
    q1 = assess_attenuation(study.rois, tests, thresholds, rng)
    q3 = assess_tracking(study.rois, study.relief, tests, thresholds, rng)
    q4 = assess_coupling(coupling, study.relief, tests, thresholds, rng)
    return {"Q1": q1, "Q2": q2, "Q3": q3, "Q4": q4, "Q5": q5}


def judge_study(tables, thresholds):
    judges = {
        "Q2": verdicts.judge_correspondence,
        "Q3": verdicts.judge_tracking,
        "Q4": verdicts.judge_tracking,
    }
    return {
        question: judges[question](table, thresholds)
        if question in judges
        else verdicts.judge_rows(table, "p_fwe", thresholds)
        for question, table in tables.items()
    }


def test_a_study_without_ratings_or_panel_leaves_its_questions_out(study, design):
    alone = replace(design, rated=np.zeros(20, bool))
    panel = study.receptors.pivot(index="region", columns="receptor", values="binding")
    yardsticks = calibrate.draw_yardsticks(
        study.own, panel[["target"]], CONFIG["nulls"], 7
    )
    counts = calibrate.count_rejections(
        *(World("nothing", alone, SIZES), yardsticks, 20, 2, CHOICES),
        np.random.default_rng(1),
    )
    assert set(counts["question"]) == {"Q1", "Q2"}


def count(design, yardsticks, purpose, name="follows", n_subjects=20, n=20):
    world = World(name, design, SIZES)
    rng = spec.random_stream(1, purpose)
    return calibrate.count_rejections(world, yardsticks, n_subjects, n, CHOICES, rng)


def test_a_batch_is_its_seed_and_no_other_batch(design, yardsticks):
    first, again, other = (
        count(design, yardsticks, f"repeat_study follows 20 {i}") for i in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert (first["n_rejected"] != other["n_rejected"]).any()
    assert set(first["n_replicates"]) == {20}
    by_verdict = first[first["test"].isin(calibrate.VERDICTS)].groupby("question")
    assert set(by_verdict["n_rejected"].sum()) == {20}


def test_the_power_of_one_roi_is_that_of_the_t_test(design, yardsticks):
    """Sign flips of normal values are as powerful as t, whose power the noncentral t gives."""
    none = calibrate.Yardsticks(
        {"moran": yardsticks.target["moran"][:99]},
        yardsticks.panel[:0],
        yardsticks.bindings[:0],
        yardsticks.in_panel,
    )
    alone = replace(design, rated=np.zeros(20, bool))
    n, cohorts = 20, 250
    counts = count(alone, none, "power", n_subjects=n, n=cohorts)
    found = counts[counts["test"].str.startswith("p in ")]["n_rejected"] / cohorts
    t = stats.t.isf(0.025, n - 1)
    ncp = SIZES["attenuation_dz"] * np.sqrt(n)
    power = stats.nct.sf(t, n - 1, ncp) + stats.nct.cdf(-t, n - 1, ncp)
    assert power == pytest.approx(0.5645, abs=1e-4)
    # four standard errors, and .01 that 999 flips may cost
    assert len(found) == 3
    error = np.sqrt(power * (1 - power) / cohorts)
    assert (np.abs(found - power) < 4 * error + 0.01).all()


# --- rates --------------------------------------------------------------------------------


def test_intervals_are_those_of_clopper_and_pearson():
    k, n = np.array([0, 1, 50, 99, 100]), 100
    low, high = rates.binomial_interval(k, n, 0.9)
    for i, one in enumerate(k):
        expected = stats.binomtest(int(one), n).proportion_ci(0.9, method="exact")
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high))


def counted(**changes):
    row = {
        **{"world": "nothing", "n_subjects": 20, "question": "Q1"},
        **{"test": "family-wise p in any ROI", "n_replicates": 1000},
        **{"n_rejected": 50, "planted": 0.0, **changes},
    }
    return pd.DataFrame([row])


def rate(counts):
    return rates.rate(counts, level=0.95, alpha=0.05, smallest_r=0.1)


def test_a_rate_holds_up_to_two_standard_errors_above_alpha():
    # .05 + 2 sqrt(.05 * .95 / 1000) = .06378
    table = rate(
        pd.concat([counted(n_rejected=63), counted(n_rejected=64, n_subjects=21)])
    )
    assert list(table["holds"]) == ["yes", "no"]
    assert list(table["is_error"]) == [True, True]
    right = rate(counted(world="follows", planted=0.5))
    assert right["holds"].isna().all()


@pytest.mark.parametrize("test", ["supported", "target ahead of every map"])
def test_what_is_one_sided_holds_up_to_half_of_alpha(test):
    # .025 + 2 sqrt(.025 * .975 / 1000) = .03487
    parts = [counted(test=test, n_rejected=34, question="Q5")]
    parts.append(counted(test=test, n_rejected=35, question="Q5", n_subjects=21))
    assert list(rate(pd.concat(parts))["holds"]) == ["yes", "no"]


def test_batches_add_up():
    parts = [counted(n_replicates=250, n_rejected=k) for k in (10, 20, 5)]
    table = rate(pd.concat(parts))
    assert table[["n_replicates", "n_rejected"]].to_numpy().tolist() == [[750, 35]]
    assert table["rate"].item() == pytest.approx(35 / 750)


@pytest.mark.parametrize(
    ("world", "question", "test", "planted", "meaning"),
    [
        ("nothing", "Q1", "supported", 0, "error"),
        ("nothing", "Q1", "evidence against", 0, "right"),
        ("elsewhere", "Q1", "p in vACC", 0.5, "right"),
        ("elsewhere", "Q1", "evidence against", 0.5, "error"),
        ("elsewhere", "Q2", "both nulls", 0, "error"),
        ("elsewhere", "Q3", "supported", 0, "error"),
        ("follows", "Q2", "both nulls", 0.7, "right"),
        ("follows", "Q3", "supported", 0.5, "right"),
        ("follows", "Q3", "supported", 0, "error"),  # nothing was planted
        ("follows", "Q5", "inconclusive", 0.7, "neither"),
        ("axis", "Q2", "both nulls", 0.6, "confounded"),
        ("axis", "Q2", "both nulls", -0.6, "confounded"),
        ("axis", "Q2", "both nulls", 0.05, "error"),
        ("axis", "Q2", "evidence against", 0.6, "neither"),
        ("axis", "Q5", "target, family-wise p", 0.6, "confounded"),
        ("axis", "Q5", "supported", 0.6, "error"),
        ("axis", "Q4", "permutation p", 0, "error"),
        ("baselines", "Q1", "family-wise p in any ROI", 0.5, "right"),
        ("baselines", "Q2", "both nulls", 0, "error"),
        ("baselines", "Q3", "family-wise p in any ROI", 0, "error"),
        ("baselines", "Q4", "supported", 0, "error"),
        ("baselines", "Q5", "supported", 0, "error"),
    ],
)
def test_what_a_rejection_means(world, question, test, planted, meaning):
    assert rates.meaning_of(world, question, test, planted, 0.1) == meaning


def test_every_question_is_decided_by_a_test_that_is_counted(design, yardsticks):
    counts = count(design, yardsticks, "names", n=1)
    names = set(zip(counts["question"], counts["test"], strict=True))
    assert names >= rates.DECIDING


def curve(powers, sizes, n=1000, question="Q1"):
    rows = [
        counted(
            **{"world": "follows", "test": "supported", "planted": 0.5},
            **{"question": question, "n_subjects": size, "n_replicates": n},
            n_rejected=round(power * n),
        )
        for power, size in zip(powers, sizes, strict=True)
    ]
    return rate(pd.concat(rows))


def test_people_needed_are_those_of_the_t_test():
    """Powers that the noncentral t gives: d_z .5 reaches .8 with 34 people (G*Power)."""
    sizes = np.array([12, 16, 24, 32, 48, 64])
    t = stats.t.isf(0.025, sizes - 1)
    powers = stats.nct.sf(t, sizes - 1, 0.5 * np.sqrt(sizes))
    found = rates.needed_subjects(curve(powers, sizes, n=100_000), 0.8).iloc[0]
    # the curve bends little between 32 and 48
    assert found["n_subjects"] == pytest.approx(33.4, abs=1)
    assert found["low"] < found["n_subjects"] < found["high"]
    assert found["note"] == str(int(np.ceil(found["n_subjects"])))


def test_people_beyond_the_numbers_tried_are_said_to_be_so():
    never = rates.needed_subjects(curve([0.1, 0.3], [16, 64]), 0.8).iloc[0]
    assert np.isnan(never["n_subjects"])
    assert never["note"] == "more than 64"
    early = rates.needed_subjects(curve([0.9, 1.0], [16, 64]), 0.8).iloc[0]
    assert early["note"] == "16 or fewer"
    # a rate just below: the upper bound is there, the lower one is not
    nearly = rates.needed_subjects(curve([0.1, 0.79], [16, 64]), 0.8).iloc[0]
    assert nearly["low"] < 64
    assert np.isnan([nearly["n_subjects"], nearly["high"]]).all()
    assert rates.needed_subjects(rate(counted()), 0.8).empty


def test_a_curve_that_falls_is_levelled():
    powers, weight = [0.2, 0.6, 0.5, 0.7, 0.65, 0.66], [1, 1, 3, 1, 1, 1]
    found = rates.rising(powers, weight)
    assert (np.diff(found) >= 0).all()
    assert found @ weight == pytest.approx(np.dot(powers, weight))
    assert found[1] == found[2] == pytest.approx(0.525)
