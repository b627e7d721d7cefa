"""The linear model of a run: nilearn's numbers, and what no number can be given for."""

import numpy as np
import pytest

from handhold import glm
from handhold.glm import (
    combine_runs,
    find_measured,
    fit_run,
    percent_signal_change,
    single_trials,
)

N_VOLUMES, N_REGRESSORS, N_VOXELS = 150, 14, 5000
CONTRASTS = np.zeros((4, N_REGRESSORS))
CONTRASTS[0, 0] = CONTRASTS[1, 1] = CONTRASTS[2, -1] = 1
CONTRASTS[3, :2] = [1, -1]


def draw_design(rng, n_volumes=N_VOLUMES, p=N_REGRESSORS):
    """Draw regressors that drift as confounds do, of very different scale, and a constant."""
    design = rng.normal(size=(n_volumes, p))
    design[:, 3:] = np.cumsum(design[:, 3:], axis=0)
    design[:, 3] *= 1e4
    design[:, 4] *= 1e-4
    design[:, -1] = 1
    return design


def draw_series(rng, design, n_voxels=N_VOXELS, mean=800.0):
    """Draw voxels as a scanner gives them: whole numbers, AR(1) noise of either sign."""
    noise = rng.normal(size=(len(design), n_voxels))
    rho = rng.uniform(-0.4, 0.9, n_voxels)
    for time in range(1, len(design)):
        noise[time] += rho * noise[time - 1]
    signal = (design - design.mean(axis=0)) / design.std(axis=0).clip(1e-9)
    signal = signal @ rng.normal(size=(design.shape[1], n_voxels)) * 5
    return np.round(mean + signal + 8 * noise).astype(np.int16)


def blocks(series):
    return lambda voxels: series[:, voxels].astype(np.float32)


def fit(series, design, contrasts=CONTRASTS, noise_model="ar1"):
    return fit_run(
        blocks(series), series.shape[1], design, contrasts, noise_model=noise_model
    )


def by_nilearn(series, design, contrasts, noise_model):
    """Return effect, variance (n_contrasts, n_voxels), and rho as nilearn labels it."""
    from nilearn.glm.contrasts import compute_contrast
    from nilearn.glm.first_level import run_glm

    labels, results = run_glm(series.astype(float), design, noise_model=noise_model)
    found = [compute_contrast(labels, results, weights) for weights in contrasts]
    effect = np.array([each.effect for each in found])
    variance = np.array([each.variance for each in found])
    return effect, variance, labels.astype(float)


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(20061201)
    design = draw_design(rng)
    return design, draw_series(rng, design)


# --- nilearn's numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("mean", [800, 30000])
def test_ols_is_that_of_nilearn(mean, rng):
    design = draw_design(rng)
    series = draw_series(rng, design, 2000, mean)
    found = fit(series, design, noise_model="ols")
    effect, variance, _ = by_nilearn(series, design, CONTRASTS, "ols")
    # an effect near 0 has no relative error of its own: it is held against its standard error
    size = np.maximum(np.abs(effect), np.sqrt(variance))
    assert (np.abs(found.effect - effect) / size).max() < 1e-5
    np.testing.assert_allclose(found.variance, variance, rtol=1e-5)
    t = effect / np.sqrt(variance)
    np.testing.assert_allclose(
        found.effect / np.sqrt(found.variance), t, rtol=1e-5, atol=1e-5
    )
    assert (found.rho == 0).all()
    assert found.df == N_VOLUMES - N_REGRESSORS


def test_ar1_is_that_of_nilearn(run):
    design, series = run
    found = fit(series, design)
    effect, variance, rho = by_nilearn(series, design, CONTRASTS, "ar1")
    # the constant is left out of |dt|: its t is 10 times that of the others
    t, found_t = (
        e / np.sqrt(v) for e, v in ((effect, variance), (found.effect, found.variance))
    )
    apart = np.abs(found_t - t)[[0, 1, 3]]
    assert np.median(apart) < 1e-5
    assert np.quantile(apart, 0.999) < 1e-4
    # a voxel on the edge of a bin falls on either side of it: float32 against a bin of 0.01
    same = np.isclose(found.rho, rho, rtol=0, atol=1e-9)
    assert same.mean() > 0.999
    assert np.unique(rho).size > 80
    assert rho.min() < -0.2
    np.testing.assert_allclose(found.variance[:, same], variance[:, same], rtol=1e-5)
    np.testing.assert_allclose(
        found.effect[:, same],
        effect[:, same],
        atol=1e-4 * np.sqrt(variance.min()),
        rtol=2e-5,
    )


def test_censored_volumes_are_dropped_as_nilearn_drops_them(run, rng):
    design, series = run
    keep = rng.random(N_VOLUMES) > 0.2
    found = fit(series[keep, :500], design[keep])
    effect, variance, _ = by_nilearn(series[keep, :500], design[keep], CONTRASTS, "ar1")
    t = effect / np.sqrt(variance)
    assert np.median(np.abs(found.effect / np.sqrt(found.variance) - t)) < 1e-5
    assert found.df == keep.sum() - N_REGRESSORS


def test_strong_drifts_do_not_cost_precision(rng):
    # 100 times the noise, as where a head moves: what float32 has to survive
    design = draw_design(rng)
    series = draw_series(rng, design, 300, 8000).astype(float)
    series += 1000 * (design[:, 5:6] - design[:, 5].mean()) / design[:, 5].std()
    found = fit(series, design)
    effect, variance, _ = by_nilearn(
        series.astype(np.float32).astype(float), design, CONTRASTS, "ar1"
    )
    t = effect / np.sqrt(variance)
    apart = np.abs(found.effect / np.sqrt(found.variance) - t)[[0, 1, 3]]
    assert np.median(apart) < 1e-4
    assert (np.abs(found.variance / variance - 1) < 1e-4).mean() > 0.98


def test_blocks_do_not_show(run, monkeypatch):
    design, series = run
    whole = fit(series[:, :500], design)
    monkeypatch.setattr(glm, "BLOCK", 77)
    pieces = fit(series[:, :500], design)
    for name in ("effect", "variance", "mean", "tsnr"):
        np.testing.assert_allclose(
            getattr(pieces, name), getattr(whole, name), rtol=1e-4, atol=1e-4
        )


def test_mean_and_tsnr(run):
    design, series = run
    found = fit(series, design)
    np.testing.assert_allclose(found.mean, series.mean(axis=0), rtol=1e-6)
    residual = series - design @ np.linalg.lstsq(design, series.astype(float))[0]
    sd = np.sqrt((residual**2).sum(axis=0) / (N_VOLUMES - N_REGRESSORS))
    np.testing.assert_allclose(found.tsnr, series.mean(axis=0) / sd, rtol=1e-5)


@pytest.mark.parametrize("noise_model", ["ar1", "ols"])
def test_the_series_are_not_changed(noise_model, run):
    design, series = run
    values = series[:, :50].astype(np.float32)
    before = values.copy()
    fit_run(
        lambda some: values[:, some], 50, design, CONTRASTS, noise_model=noise_model
    )
    assert np.array_equal(values, before)


# --- what has no estimate --------------------------------------------------------------------


@pytest.mark.parametrize("noise_model", ["ar1", "ols"])
def test_a_voxel_without_noise_has_no_estimate(noise_model, run):
    design, series = run
    values = series[:, :9].astype(np.float32)
    values[:, 0] = 0
    # constant but for the last bit of float32
    values[:, 1] = np.float32(812.3) + np.spacing(np.float32(812.3)) * (
        series[:, 1] % 2
    )
    values[:, 2] = 500 + design @ np.linspace(0, 3, N_REGRESSORS)
    values[5, 3] = np.nan
    values[6, 4] = np.inf
    found = fit(values, design, noise_model=noise_model)
    for name in ("effect", "variance", "rho", "tsnr"):
        numbers = np.atleast_2d(getattr(found, name))
        assert np.isnan(numbers[:, :5]).all()
        assert np.isfinite(numbers[:, 5:]).all()
    np.testing.assert_allclose(found.mean[:2], [0, 812.3], rtol=1e-6)
    assert not np.isfinite(found.mean[3:5]).any()
    alone = fit(values[:, 5:], design, noise_model=noise_model)
    np.testing.assert_allclose(found.effect[:, 5:], alone.effect, rtol=1e-4, atol=1e-4)


def test_the_scale_of_a_regressor_does_not_matter(run):
    design, series = run
    scaled = design * np.where(np.arange(N_REGRESSORS) == 5, 1e-17, 1.0)
    before, after = (fit(series[:, :50], each) for each in (design, scaled))
    np.testing.assert_allclose(after.effect, before.effect, rtol=1e-4, atol=1e-4)


def test_one_count_of_noise_in_a_large_mean_is_noise(run):
    design, _ = run
    values = np.full((N_VOLUMES, 1), 30000.0)
    values[40] += 1
    assert np.isfinite(fit(values, design).effect).all()


def make_fault(design, contrasts, fault):
    if fault == "repeated":
        design[:, 1] = 3 * design[:, 0]
    elif fault == "empty":
        design[:, 1] = 0
    elif fault == "no constant":
        design[:, -1] = design[:, 0] ** 2
    elif fault == "too few":
        design = design[:N_REGRESSORS]
    elif fault == "contrasts":
        contrasts = contrasts[:, 1:]
    return design, contrasts


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("repeated", f"rank {N_REGRESSORS - 1} with {N_REGRESSORS}"),
        ("empty", f"rank {N_REGRESSORS - 1} with {N_REGRESSORS}"),
        ("no constant", "no constant"),
        ("too few", "leave nothing"),
        ("contrasts", f"{N_REGRESSORS - 1} regressors of {N_REGRESSORS}"),
    ],
)
def test_a_design_without_one_answer_is_refused(fault, says, rng):
    design, contrasts = make_fault(draw_design(rng), CONTRASTS, fault)
    series = np.ones((len(design), 3), np.float32)
    with pytest.raises(ValueError, match=says):
        fit(series, design, contrasts)


def test_an_unknown_noise_model_is_refused(run):
    with pytest.raises(ValueError, match="ar2"):
        fit(run[1], run[0], noise_model="ar2")


# --- percent signal change -------------------------------------------------------------------


def test_percent_signal_change_by_hand():
    found = glm.Fit(
        effect=np.array([[2.0, 2.0, 2.0, 2.0]]),
        variance=np.array([[0.25, 0.25, 0.25, 0.25]]),
        rho=np.zeros(4),
        mean=np.array([500.0, 0.0, -500.0, np.nan]),
        tsnr=np.array([50.0, 0.0, -50.0, np.nan]),
        df=10,
    )
    scaled = percent_signal_change(found, 0.8)
    # 2 x 0.8 of 500 is 0.32 %
    np.testing.assert_allclose(scaled.effect, [[0.32, np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(scaled.variance, [[0.25 * 0.16**2, *[np.nan] * 3]])
    assert scaled.tsnr is found.tsnr


@pytest.mark.parametrize("peak", [0.0, -1.0, np.nan])
def test_a_response_without_a_peak_is_refused(peak, run):
    with pytest.raises(ValueError, match="above 0"):
        percent_signal_change(fit(run[1][:, :5], run[0]), peak)


def test_voxels_without_signal_are_found():
    mean = np.array([1000.0, 900, 1100, 200, 199, 0, -5, np.nan])
    # the median of the seven finite means is 200
    assert find_measured(mean, 0.2).tolist() == [True] * 5 + [False] * 3
    assert find_measured(mean, 0.999).tolist() == [True] * 4 + [False] * 4
    assert find_measured(mean, 1.0).tolist() == [True] * 4 + [False] * 4
    assert find_measured(mean, 0.0).tolist() == [True] * 5 + [False] * 3
    assert not find_measured(np.full(3, np.nan), 0.2).any()


# --- runs ------------------------------------------------------------------------------------


def test_runs_combine_as_in_nilearn(rng):
    import nibabel as nib
    from nilearn.glm import compute_fixed_effects

    shape = (3, 4, 2, 5)
    effects, variances = rng.normal(size=shape), rng.uniform(0.1, 3, size=shape)
    images = [
        [nib.Nifti1Image(each[..., run], np.eye(4)) for run in range(shape[-1])]
        for each in (effects, variances)
    ]
    mask = nib.Nifti1Image(np.ones(shape[:3], np.uint8), np.eye(4))
    reference = compute_fixed_effects(*images, mask, precision_weighted=True)[:2]
    effect, variance = combine_runs(
        effects.reshape(-1, 5).T, variances.reshape(-1, 5).T
    )
    for found, image in zip((effect, variance), reference, strict=True):
        np.testing.assert_allclose(found, image.get_fdata().ravel(), rtol=1e-6)


def test_a_run_that_was_not_measured_is_left_out():
    effects = np.array([[1.0, np.nan, 1, np.nan, 1], [4.0, 4, 4, np.nan, 4]])
    variances = np.array([[1.0, 1, np.nan, 1, -1], [2.0, 2, 2, 2, 2]])
    effect, variance = combine_runs(effects, variances)
    # (1 / 1 + 4 / 2) / (1 / 1 + 1 / 2) = 2
    np.testing.assert_allclose(effect, [2, 4, 4, np.nan, 4])
    np.testing.assert_allclose(variance, [2 / 3, 2, 2, np.nan, 2])


# --- single trials ---------------------------------------------------------------------------


def by_models(series, trials, kind, others):
    """Fit one model per trial, column by column as Mumford et al. write it."""
    estimates = []
    for trial in range(trials.shape[1]):
        columns = [trials[:, trial]]
        for each in np.unique(kind):
            rest = [i for i in np.flatnonzero(kind == each) if i != trial]
            if rest:
                columns.append(trials[:, rest].sum(axis=1))
        model = np.column_stack([*columns, others])
        estimates.append(np.linalg.lstsq(model, series)[0][0])
    return np.array(estimates)


@pytest.fixture
def trials(rng):
    """Overlapping responses of ten trials of three kinds, one of them of a kind alone."""
    time = np.arange(100)
    onsets = np.arange(4, 94, 9)
    columns = np.exp(-0.5 * ((time[:, None] - onsets - 5) / 3.0) ** 2)
    return columns, np.array([0, 1, 0, 1, 2, 0, 1, 0, 1, 0])


def test_single_trials_are_models_of_their_own(trials, rng):
    columns, kind = trials
    others = np.column_stack([np.ones(100), np.arange(100), rng.normal(size=(100, 4))])
    series = 500 + columns @ rng.normal(size=(10, 3)) + rng.normal(size=(100, 3))
    found = single_trials(series, columns, kind, others)
    np.testing.assert_allclose(
        found, by_models(series, columns, kind, others), rtol=1e-8, atol=1e-8
    )


def test_others_may_repeat_each_other(trials, rng):
    columns, kind = trials
    others = np.column_stack([np.ones(100), np.arange(100), np.zeros(100)])
    series = rng.normal(size=(100, 2))
    # and be of any scale
    twice = np.column_stack([others[:, 0], others * 3, others[:, 1] * 1e-17])
    others = others * [1, 1e-17, 0]
    assert np.ptp(twice[:, -1]) > 0
    np.testing.assert_allclose(
        single_trials(series, columns, kind, twice),
        single_trials(series, columns, kind, others[:, :2]),
        atol=1e-10,
    )


def test_a_trial_that_others_explain_has_no_estimate(trials, rng):
    columns, kind = trials
    columns = columns.copy()
    columns[:, 3] = 0  # censored
    others = np.column_stack([np.ones(100), columns[:, 4]])
    found = single_trials(rng.normal(size=(100, 2)), columns, kind, others)
    assert np.isnan(found).all(axis=1).tolist() == [n in (3, 4) for n in range(10)]
    assert np.isfinite(np.delete(found, [3, 4], axis=0)).all()


def test_a_region_that_was_not_measured_has_no_trials(trials, rng):
    columns, kind = trials
    series = rng.normal(size=(100, 3))
    series[7, 1] = np.nan
    found = single_trials(series, columns, kind, np.ones((100, 1)))
    assert np.isnan(found).all(axis=0).tolist() == [False, True, False]
    assert np.isfinite(found[:, [0, 2]]).all()
