"""The simulated scanner: its response is nilearn's, its noise as parameterised, its unit right."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import make_first_level_design_matrix

from handhold import phantom, scanner, simulate
from handhold.simulate import Cohort, Noise, Protocol

SILENT = Noise(
    thermal_sd=0,
    smooth_sd=0,
    drift_sd=0,
    physio_sd=0,
    motion_mm=0,
    n_spikes=0,
    motion_percent=0,
    dropout=0,
    dropout_sd=0,
)


def box(cohort, shape=(4, 3, 3), voxel_size_mm=8.0, **tissue):
    affine = np.diag([voxel_size_mm] * 3 + [1.0])
    affine[:3, 3] = [-15, 0, -15]
    return simulate.plan(cohort, np.ones(shape, dtype=bool), affine, **tissue)


def nilearn_design(events, n_volumes, tr_s, **options):
    """Return nilearn's regressors of a table of events."""
    times = (np.arange(n_volumes) + 0.5) * tr_s
    return make_first_level_design_matrix(
        times, events[["onset", "duration", "trial_type"]], **options
    )


# The response and its unit


@pytest.mark.parametrize("tr_s", [0.8, 2.0])
def test_the_response_is_the_one_of_nilearn(tr_s):
    rng = np.random.default_rng(1)
    onsets = np.sort(rng.uniform(0, 150 * tr_s, 12))
    durations = rng.uniform(0.5, 10, 12)
    events = pd.DataFrame({"onset": onsets, "duration": durations, "trial_type": "x"})
    theirs = nilearn_design(events, 200, tr_s, hrf_model="spm", drift_model=None)["x"]
    times = scanner.volume_times(200, tr_s)
    ours = scanner.respond(onsets, durations, times)
    # They sample in steps of tr / 50 and are up to two of them late (their density is shifted
    # by one, onsets are rounded up). The density of the response is .2 per s at most, and
    # that of two events can add up.
    step = tr_s / 50
    assert np.abs(ours - theirs).max() < 2 * step * 0.25
    # Put one step later, ours is theirs but for the rounding.
    later = scanner.respond(onsets, durations, times - step)
    assert np.abs(later - theirs).max() < step * 0.25
    assert np.abs(theirs).max() > 0.5


def test_an_endless_event_reaches_1_and_the_peak_is_that_of_nilearn():
    endless = scanner.respond(np.zeros(1), np.array([1e3]), np.array([40.0, 500.0]))
    np.testing.assert_allclose(endless, 1, atol=1e-12)
    event = pd.DataFrame({"onset": [10.0], "duration": [6.0], "trial_type": "x"})
    design = nilearn_design(event, 400, 0.1, hrf_model="spm", drift_model=None)
    assert scanner.peak_response() == pytest.approx(design["x"].max(), rel=1e-3)


@pytest.mark.parametrize("ratings", ["block", "trial"])
def test_what_is_planted_is_what_nilearns_design_finds(ratings):
    # where signal drops out, effects are a percentage of what is left
    noise = replace(SILENT, dropout=0.9)
    cohort = Cohort(n_subjects=2, noise=noise, ratings=ratings)
    template = box(cohort)
    assert phantom.dropout_pattern(template.points).max() > 0.3
    found = {}
    for run in (1, 2, 3):
        scan = scanner.scan_run(cohort, 1, run, template)
        design = nilearn_design(
            scan.events, cohort.n_volumes, 2.0, hrf_model="spm", drift_model=None
        )
        fit = np.linalg.lstsq(design.to_numpy(), scan.series, rcond=None)[0]
        effects = pd.DataFrame(fit, index=design.columns)
        percent = 100 * effects * scanner.peak_response() / effects.loc["constant"]
        hand = scan.events["hand"].iloc[0]
        found |= {(hand, cue): percent.loc[cue].to_numpy() for cue in simulate.CUES}
    planted = simulate.simulate_effects(cohort, 1, template)
    # nilearn's regressors are a fortieth of a second late, which costs under 1 % of them.
    for cell in simulate.cells():
        np.testing.assert_allclose(found[cell], planted[cell], rtol=0.02, atol=0.005)
    # ... and so is the attenuation, sign and all
    for held, values in simulate.planted_attenuation(cohort, 1, template).items():
        difference = (
            found["alone", "threat"]
            - found["alone", "safe"]
            - (found[held, "threat"] - found[held, "safe"])
        )
        np.testing.assert_allclose(difference, values, atol=0.02)
        assert np.abs(values).max() > 0.1


def test_events_one_volume_late_find_something_else():
    cohort = Cohort(n_subjects=1, noise=SILENT)
    template = box(cohort)
    scan = scanner.scan_run(cohort, 0, 1, template)
    late = scan.events.assign(onset=scan.events["onset"] + 2.0)
    residual = []
    for events in (scan.events, late):
        design = nilearn_design(
            events, cohort.n_volumes, 2.0, hrf_model="spm", drift_model=None
        )
        fit = np.linalg.lstsq(design.to_numpy(), scan.series, rcond=None)[0]
        residual.append((scan.series - design.to_numpy() @ fit).std())
    assert residual[1] > 10 * residual[0]


# Noise


def long_run(noise, shape=(3, 3, 3), voxel_size_mm=40.0, **changes):
    """Return noise in percent over a run of some 1800 volumes without any response."""
    protocol = Protocol(n_trials=100, lead_out_s=850)
    cohort = Cohort(
        threat_response=0,
        receptor_slope=0,
        base_attenuation=0,
        regional_sd=0,
        idiosyncratic_sd=0,
        protocol=protocol,
        noise=replace(SILENT, **noise),
        **changes,
    )
    template = box(cohort, shape, voxel_size_mm)
    scan = scanner.scan_run(cohort, 0, 1, template)
    return scan, 100 * (scan.series / 1000.0 - 1)


def autocorrelation(series):
    series = series - series.mean(axis=0)
    return (series[1:] * series[:-1]).sum() / (series**2).sum()


def test_thermal_noise_is_white():
    _, noise = long_run({"thermal_sd": 0.8})
    n = noise.size
    assert n > 40_000
    assert abs(noise.std() - 0.8) < 4 * 0.8 / np.sqrt(2 * n)
    assert abs(autocorrelation(noise)) < 4 / np.sqrt(n)
    r = np.corrcoef(noise.T)[np.triu_indices(27, 1)]
    assert np.abs(r).max() < 4.5 / np.sqrt(len(noise))


def test_smooth_noise_has_the_planted_size_memory_and_width():
    _, noise = long_run({"smooth_sd": 0.5, "ar1": 0.4})  # voxels 40 mm apart
    # AR(1) series of n values are worth n (1 - rho^2) / (1 + rho^2) for a variance.
    n = noise.size * (1 - 0.16) / (1 + 0.16)
    assert abs(noise.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * n)
    assert abs(autocorrelation(noise) - 0.4) < 4 * np.sqrt((1 - 0.16) / noise.size)
    _, close = long_run(
        {"smooth_sd": 0.5, "ar1": 0.0, "smoothness_mm": 12.0}, (2, 1, 1), 6.0
    )
    sigma = 12 / np.sqrt(8 * np.log(2))
    expected = np.exp(-(6**2) / (4 * sigma**2))
    r = np.corrcoef(close.T)[0, 1]
    assert abs(np.arctanh(r) - np.arctanh(expected)) < 4 / np.sqrt(len(close)) + 0.01


def test_drift_is_slow_and_as_large_as_planted():
    _, noise = long_run({"drift_sd": 0.5})
    spectrum = np.abs(np.fft.rfft(noise - noise.mean(axis=0), axis=0)) ** 2
    slow = np.fft.rfftfreq(len(noise), 2.0) <= 1.1 / 128
    assert spectrum[slow].sum() > 0.98 * spectrum.sum()
    n = noise.shape[1] * scanner.slow_cosines(len(noise), 2.0).shape[1]
    assert abs(noise.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * n)


def test_pulsation_is_shared_and_stronger_in_fluid():
    cohort = Cohort(noise=replace(SILENT, physio_sd=0.5), threat_response=0)
    fluid = np.zeros(36)
    fluid[:6] = 1
    template = box(cohort, fluid=fluid, white=np.zeros(36))
    series = scanner.scan_run(cohort, 0, 1, template).series
    percent = 100 * series / series.mean(axis=0)
    assert percent[:, :6].std() > 1.5 * percent[:, 6:].std()
    # a handful of time courses for the whole brain
    values = np.linalg.svd(percent - percent.mean(axis=0), compute_uv=False)
    assert values[4] < 0.01 * values[0] + 1e-3
    assert values[3] > 0.01 * values[0]


def test_jerks_are_in_the_motion_the_displacement_and_the_series():
    scan, noise = long_run(
        {"n_spikes": 30.0, "spike_mm": 2.0, "motion_percent": 1.0, "thermal_sd": 0.1}
    )
    displacement = scanner.framewise_displacement(scan.motion)
    assert np.isnan(displacement[0])
    jerks = np.flatnonzero(np.abs(scan.motion).sum(axis=1) > 0.05)
    # Poisson with mean 30; a few coincide with small lengths
    assert 12 <= len(jerks) <= 50
    change = np.abs(np.diff(noise, axis=0)).mean(axis=1)
    moved = displacement[1:] > 0.5
    assert 12 <= moved.sum() <= 100
    assert change[moved].min() > change[~moved].mean()
    # A displacement by hand (Power et al. 2012): 0.1 + 0.2 mm, and 0.01 rad of 50 mm.
    motion = np.array([[0.0] * 6, [0.1, 0.0, -0.2, 0.0, 0.01, 0.0]])
    assert scanner.framewise_displacement(motion)[1] == pytest.approx(0.8)


def test_a_quiet_head_does_not_move():
    scan, _ = long_run({})
    assert (scan.motion == 0).all()


def test_dropout_takes_signal_and_leaves_noise():
    noise = Noise(**{**vars(SILENT), "thermal_sd": 1.0, "dropout": 0.8})
    cohort = Cohort(noise=noise)
    # two voxels behind the sinus, one over it
    affine = np.diag([4.0, 55, 4, 1])
    affine[:3, 3] = np.array(phantom.DROPOUT_CENTRE) - [0, 110, 0]
    template = simulate.plan(cohort, np.ones((1, 3, 1), dtype=bool), affine)
    series = scanner.scan_run(cohort, 0, 1, template).series
    np.testing.assert_allclose(series.mean(axis=0), [1000, 993, 200], rtol=0.03)
    n = cohort.n_volumes
    for values in series.T:
        # noise of 10, and responses of at most 2 % on top
        assert 10 * (1 - 4 / np.sqrt(2 * n)) < values.std() < 16
    assert scanner.brain_mask(cohort, 0, template).tolist() == [True, True, False]


def test_a_scan_depends_on_the_seed_the_person_and_the_run():
    cohort = Cohort(n_subjects=2)
    more, other = Cohort(n_subjects=9), Cohort(n_subjects=2, seed=1)
    template = box(cohort)
    series = scanner.scan_run(cohort, 1, 2, template).series
    assert np.array_equal(series, scanner.scan_run(more, 1, 2, template).series)
    for another in (
        scanner.scan_run(cohort, 0, 2, template),
        scanner.scan_run(cohort, 1, 3, template),
        scanner.scan_run(other, 1, 2, template),
    ):
        assert (another.series != series).mean() > 0.99
        assert not np.isclose(another.motion[1:], 0).any()


# Confounds


@pytest.fixture(scope="module")
def confounds():
    cohort = Cohort(noise=Noise(n_spikes=4))
    n = 20 * 20
    white, fluid = np.zeros(n), np.zeros(n)
    white[: n // 4], fluid[n // 4 : n // 3] = 1, 1
    template = box(cohort, (20, 5, 4), 8.0, white=white, fluid=fluid)
    scan = scanner.scan_run(cohort, 0, 1, template)
    inside = np.arange(n) % 7 > 0
    table, meanings = scanner.measure_confounds(scan, inside, template, 2.0)
    return scan, inside, template, table, meanings


def test_confounds_are_measured_in_the_series(confounds):
    scan, inside, template, table, _ = confounds
    series = scan.series.astype(float)
    expected = {
        "global_signal": series[:, inside].mean(axis=1),
        "white_matter": series[:, inside & (template.white == 1)].mean(axis=1),
        "csf": series[:, inside & (template.fluid == 1)].mean(axis=1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values, rtol=1e-6)
    change = np.diff(series[:, inside], axis=0)
    dvars = np.sqrt((change**2).mean(axis=1))
    np.testing.assert_allclose(table["dvars"][1:], dvars, rtol=1e-4)
    # A change of an AR(1) series has the standard deviation sd * sqrt(2 (1 - rho)).
    sds = series[:, inside].std(axis=0)
    rhos = [np.corrcoef(voxel[1:], voxel[:-1])[0, 1] for voxel in series[:, inside].T]
    expected = (sds * np.sqrt(2 * (1 - np.array(rhos)))).mean()
    np.testing.assert_allclose(table["std_dvars"][1:], dvars / expected, rtol=0.02)
    for name in ("trans_x", "rot_z", "csf"):
        values = table[name].to_numpy()
        np.testing.assert_allclose(table[f"{name}_power2"], values**2)
        np.testing.assert_allclose(table[f"{name}_derivative1"][1:], np.diff(values))
    first = table.iloc[0]
    missing = set(first.index[first.isna()])
    later = {name for name in table if "derivative1" in name}
    assert missing == later | {"dvars", "std_dvars", "framewise_displacement"}
    assert not table[1:].isna().to_numpy().any()


def test_components_are_those_of_a_singular_value_decomposition(confounds):
    scan, inside, template, table, meanings = confounds
    voxels = inside & ((template.white == 1) | (template.fluid == 1))
    series = scan.series[:, voxels].astype(float)
    drift = np.column_stack([np.ones(len(series)), scanner.slow_cosines(148, 2.0)])
    series -= drift @ np.linalg.lstsq(drift, series, rcond=None)[0]
    left, values, _ = np.linalg.svd(series, full_matrices=False)
    for i in range(5):
        name = f"a_comp_cor_{i:02d}"
        assert abs(table[name] @ left[:, i]) == pytest.approx(1, abs=1e-3)
        assert meanings[name]["SingularValue"] == pytest.approx(values[i], rel=1e-4)
        share = values[i] ** 2 / (values**2).sum()
        assert meanings[name]["VarianceExplained"] == pytest.approx(share, rel=1e-4)


def test_drift_cosines_are_those_of_nilearn():
    empty = pd.DataFrame({"onset": [0.0], "duration": [1.0], "trial_type": "x"})
    design = nilearn_design(
        empty, 148, 2.0, hrf_model="spm", drift_model="cosine", high_pass=1 / 128
    )
    theirs = design[[name for name in design if name.startswith("drift")]].to_numpy()
    ours = scanner.slow_cosines(148, 2.0)
    assert ours.shape == theirs.shape == (148, 4)
    scaled = ours / np.linalg.norm(ours, axis=0)
    theirs = theirs / np.linalg.norm(theirs, axis=0)
    np.testing.assert_allclose(np.abs((scaled * theirs).sum(axis=0)), 1, atol=1e-6)


def test_intensities_are_counted_in_steps():
    counts = scanner.digitise(np.array([-5.0, 0.0, 1000.0, 1e9], dtype=np.float32))
    assert counts.dtype == np.int16
    assert counts.tolist() == [0, 0, 128, 32767]


def test_trials_differ_in_size_as_planted():
    """The difference to the same run without is each threat trial's response times its size."""
    cohort = Cohort(n_subjects=1, trial_sd=0.4, noise=SILENT)
    template = box(cohort)
    plain, varied = (
        scanner.scan_run(each, 0, 1, template)
        for each in (replace(cohort, trial_sd=0.0), cohort)
    )
    events = varied.events
    own = events[events["trial_type"] == "threat"]
    times = scanner.volume_times(cohort.n_volumes, cohort.protocol.tr_s)
    course = np.zeros(len(times))
    for size, row in zip(
        simulate.trial_sizes(cohort, 0, 1), own.itertuples(), strict=True
    ):
        course += size * scanner.respond([row.onset], [row.duration], times)
    course /= scanner.peak_response()
    planted = np.outer(course, 0.4 * template.tissue * template.response)
    full = scanner.GREY_INTENSITY * phantom.brightness(template.white, template.fluid)
    found = 100 * (varied.series - plain.series) / full
    assert np.abs(planted).max() > 0.2
    assert found == pytest.approx(planted, abs=1e-3)  # float32 about 10,000
