import json
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import FirstLevelModel
from nilearn.interfaces import fmriprep
from scipy import fft, stats
from statsmodels.stats.outliers_influence import variance_inflation_factor

from handhold import design, io, rundesign, spec
from handhold.errors import StudyError

RULES = spec.schema()["properties"]
TR, N_VOLUMES = 2.0, 120


def defaults(section, **changes):
    filled = {
        name: entry["default"] for name, entry in RULES[section]["properties"].items()
    }
    assert set(changes) <= set(filled)
    return filled | changes


GLM, CONFOUNDS = defaults("glm"), defaults("confounds")

# --- Confounds: the real tables of fMRIPrep, both generations of names -------------------

TABLES = {
    "still": ("test_desc-confounds_regressors", "desc-confounds_regressors"),
    "moving": ("test-v21_desc-confounds_timeseries", "desc-confounds_timeseries"),
}
STRATEGIES = {
    "motion24": {"strategy": ["motion"]},
    "tissue": {
        "strategy": ["motion", "wm_csf", "global_signal"],
        "motion": "power2",
        "wm_csf": "full",
        "global_signal": "derivatives",
    },
    "acompcor": {
        "strategy": ["motion", "high_pass", "compcor"],
        "motion": "basic",
        "n_compcor": 3,
    },
    "scrubbing": {"strategy": ["motion", "high_pass", "scrub"], "fd_threshold_mm": 0.4},
    "segments": {
        "strategy": ["wm_csf", "scrub"],
        "scrub": 3,
        "fd_threshold_mm": 0.15,
        "std_dvars_threshold": 5.0,
    },
    "none": {"strategy": []},
}


@pytest.fixture(params=TABLES)
def derivative(request, shared_data, tmp_path):
    """A real table under fMRIPrep's own name, beside an image by whose name nilearn finds it."""
    source, suffix = TABLES[request.param]
    for ending in ("tsv", "json"):
        original = shared_data / "confounds" / f"{source}.{ending}"
        shutil.copyfile(original, tmp_path / f"sub-01_task-x_run-1_{suffix}.{ending}")
    image = tmp_path / "sub-01_task-x_run-1_space-MNI_desc-preproc_bold.nii.gz"
    image.touch()
    return str(image), tmp_path / f"sub-01_task-x_run-1_{suffix}.tsv"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_real_tables_load_as_nilearn_loads_them(derivative, strategy):
    image, path = derivative
    options = defaults("confounds", **STRATEGIES[strategy])
    if "timeseries" in path.name and strategy == "segments":
        options["fd_threshold_mm"] = 1.5  # else no volume of that run is left
    table, keep, _ = design.load_confounds(path, options, "sub-01 run-1")

    names = {"fd_threshold_mm": "fd_threshold", "max_censored": None}
    handed = {names.get(name, name): value for name, value in options.items()}
    handed.pop(None)
    with warnings.catch_warnings():  # nilearn warns of an empty strategy
        warnings.simplefilter("ignore")
        expected, sample_mask = fmriprep.load_confounds(image, **handed)
    sample_mask = np.arange(30) if sample_mask is None else sample_mask
    assert np.array_equal(np.flatnonzero(keep), sample_mask)
    if not options["strategy"]:
        assert table.shape == (30, 0)
        return
    assert list(table) == list(expected)
    assert len(table) == len(keep) == 30
    centred = table - table[keep].mean()
    assert np.allclose(centred, expected, rtol=1e-9, atol=1e-9 * expected.abs().max())


def test_censoring_and_motion_by_hand(derivative):
    _, path = derivative
    options = defaults("confounds", fd_threshold_mm=0.4, std_dvars_threshold=2.0)
    _, keep, motion = design.load_confounds(path, options, "sub-01")
    raw = pd.read_csv(path, sep="\t")
    fd, dvars = raw["framewise_displacement"], raw["std_dvars"]
    early = raw.filter(like="non_steady_state").any(axis=1)
    assert np.array_equal(keep, ~((fd > 0.4) | (dvars > 2.0) | early))
    assert motion.mean_fd == pytest.approx(fd.dropna().sum() / 29)
    assert motion.max_fd == fd.max()
    assert motion.n_over_fd == (fd > 0.4).sum()
    assert motion.n_non_steady == early.sum() > 0
    assert list(motion.parameters) == [*design.RIGID_BODY, "framewise_displacement"]


def test_without_scrubbing_only_the_unsteady_volumes_go(derivative):
    _, path = derivative
    options = defaults("confounds", strategy=["motion"])
    _, keep, motion = design.load_confounds(path, options, "sub-01")
    assert not keep[: motion.n_non_steady].any()
    assert keep[motion.n_non_steady :].all()


def test_the_first_value_of_a_derivative_is_the_second(derivative):
    _, path = derivative
    table, _, _ = design.load_confounds(path, CONFOUNDS, "sub-01")
    raw = pd.read_csv(path, sep="\t")["trans_x_derivative1"]
    assert np.isnan(raw[0])
    assert table["trans_x_derivative1"].tolist() == [raw[1], *raw[1:]]


# --- Confounds: tables that cannot be used -------------------------------------------------


def confound_table(rng, n_volumes=N_VOLUMES):
    """Confounds as fMRIPrep writes them, of someone who lies still."""
    table = {}
    motion = np.cumsum(rng.normal(scale=0.01, size=(6, n_volumes)), axis=1)
    signals = dict(zip(design.RIGID_BODY, motion, strict=True))
    signals |= {
        name: 500 + rng.normal(size=n_volumes) for name in ("csf", "white_matter")
    }
    for name, values in signals.items():
        change = np.r_[np.nan, np.diff(values)]
        table[name], table[f"{name}_power2"] = values, values**2
        table[f"{name}_derivative1"] = change
        table[f"{name}_derivative1_power2"] = change**2
    table["framewise_displacement"] = np.r_[np.nan, rng.uniform(0, 0.3, n_volumes - 1)]
    table["std_dvars"] = np.r_[np.nan, rng.uniform(0.9, 1.2, n_volumes - 1)]
    return pd.DataFrame(table)


def write_confounds(table, folder, subject="01", run="1"):
    path = folder / f"sub-{subject}_task-x_run-{run}_desc-confounds_timeseries.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


def load(table, folder, **changes):
    path = write_confounds(table, folder)
    return design.load_confounds(path, defaults("confounds", **changes), "sub-01 run-1")


def refused(table, folder, **changes):
    with pytest.raises(StudyError) as caught:
        load(table, folder, **changes)
    text = str(caught.value)
    assert text.startswith("sub-01 run-1: ")
    assert "confounds_timeseries" in text
    return text


@pytest.mark.parametrize(
    ("gone", "changes", "named"),
    [
        (["trans_x_power2", "rot_z"], {}, "no trans_x_power2, rot_z"),
        (["csf"], {}, "no csf (for wm_csf)"),
        (["csf_derivative1"], {"wm_csf": "full"}, "no csf_derivative1 (for wm_csf)"),
        ([], {"strategy": ["global_signal"]}, "no global_signal (for global_signal)"),
        (["std_dvars"], {}, "no std_dvars (for scrub)"),
        (["framewise_displacement"], {}, "no framewise_displacement (for scrub)"),
        ([], {"strategy": ["motion", "high_pass"]}, "no cosine00, ... (for high_pass)"),
    ],
)
def test_missing_columns_are_named(rng, tmp_path, gone, changes, named):
    text = refused(confound_table(rng).drop(columns=gone), tmp_path, **changes)
    for name in named.split(", "):
        assert name in text
    assert "confounds.strategy" in text


def test_components_of_all_kinds_are_missed_at_once(rng, tmp_path):
    table = confound_table(rng).drop(columns=["std_dvars", "white_matter"])
    text = refused(table, tmp_path)
    assert "no white_matter (for wm_csf); no std_dvars (for scrub)" in text


def test_compcor_needs_its_json(rng, tmp_path):
    table = confound_table(rng).assign(a_comp_cor_00=0.5, cosine00=1.0)
    compcor = {"strategy": ["high_pass", "compcor"]}
    assert "compcor needs the JSON beside" in refused(table, tmp_path, **compcor)
    beside = tmp_path / "sub-01_task-x_run-1_desc-confounds_timeseries.json"
    for content in ("{", "{}", '{"a_comp_cor_00": {}}', "[]"):
        beside.write_text(content, encoding="utf-8")
        assert "compcor" in refused(table, tmp_path, **compcor)
    names = {f"a_comp_cor_0{n}": {"Mask": "combined"} for n in (0, 1)}
    beside.write_text(json.dumps(names), encoding="utf-8")
    assert "no a_comp_cor_01 (for compcor)" in refused(table, tmp_path, **compcor)
    chosen, _, _ = load(table, tmp_path, **compcor, n_compcor=1)
    assert list(chosen) == ["a_comp_cor_00", "cosine00"]


def test_values_that_are_missing_or_words_are_refused(rng, tmp_path):
    table = confound_table(rng)
    table.loc[[4, 5], "csf"] = np.nan
    assert "missing values beyond the first volume, of 120: csf (2)" in refused(
        table, tmp_path
    )
    table = confound_table(rng).assign(trans_y="x")
    assert "no numbers in trans_y" in refused(table, tmp_path)


def test_a_table_that_cannot_be_read_is_refused(rng, tmp_path):
    path = write_confounds(confound_table(rng), tmp_path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(
        StudyError, match=r"sub-01: the confound table .* cannot be read"
    ):
        design.load_confounds(path, CONFOUNDS, "sub-01")
    path.write_text("trans_x\n", encoding="utf-8")
    with pytest.raises(StudyError, match="has 0 rows"):
        design.load_confounds(path, CONFOUNDS, "sub-01")
    path.unlink()
    with pytest.raises(StudyError, match="cannot be read"):
        design.load_confounds(path, CONFOUNDS, "sub-01")


def test_a_run_without_a_volume_left_is_refused(rng, tmp_path):
    text = refused(confound_table(rng), tmp_path, fd_threshold_mm=1e-9)
    assert "of 120 volumes, 1 are left" in text
    unsteady = confound_table(rng).assign(non_steady_state_outlier00=1)
    assert "of 120 volumes, 0 are left" in refused(unsteady, tmp_path)


def test_motion_is_told_where_the_table_gives_none(rng, tmp_path):
    table = confound_table(rng)[["csf", "white_matter"]]
    _, keep, motion = load(table, tmp_path, strategy=["wm_csf"])
    assert keep.all()
    assert np.isnan(motion.mean_fd)
    assert np.isnan(motion.max_fd)
    assert motion.n_over_fd == 0
    assert motion.parameters.shape == (120, 0)


# --- Designs --------------------------------------------------------------------------------


def tidy(rows):
    """Events from (regressor, onset, duration); alone_threat and the like are cells."""
    events = pd.DataFrame(rows, columns=["regressor", "onset", "duration"])
    events[["onset", "duration"]] = events[["onset", "duration"]].astype(float)
    parts = events["regressor"].str.extract("^(alone|partner)_(threat|safe)$")
    return events.assign(
        trial_type=events["regressor"], condition=parts[0], cue=parts[1], rating=np.nan
    )


def study_events(rng, duration=6.0):
    """Threat and safe at random, 12 s apart, a shock after some threats."""
    cues = rng.permutation(["threat", "safe"] * 9)
    rows = [(f"alone_{cue}", 8 + 12 * n, duration) for n, cue in enumerate(cues)]
    shocks = [("shock", onset + 7, 0.0) for _, onset, _ in rows[::5]]
    return tidy(rows + shocks)


def design_of(events, confounds=None, keep=None, n_volumes=N_VOLUMES, tr=TR, **changes):
    if confounds is None:
        confounds = pd.DataFrame(index=range(n_volumes))
    keep = np.ones(n_volumes, dtype=bool) if keep is None else keep
    return design.design_run(
        events,
        confounds,
        keep,
        n_volumes=n_volumes,
        tr=tr,
        glm=defaults("glm", **changes),
        where="sub-01 run-1",
    )


def column(made, name):
    return made.matrix[:, made.columns.index(name)]


def unfit(match, events, **changes):
    with pytest.raises(StudyError, match=match) as caught:
        design_of(events, **changes)
    assert str(caught.value).startswith("sub-01 run-1: ")


@pytest.fixture
def chosen(rng, tmp_path):
    """Confounds of a run with three censored volumes."""
    table = confound_table(rng)
    table.loc[[30, 31, 77], "framewise_displacement"] = 2.0
    return load(table, tmp_path)


@pytest.mark.parametrize(
    ("changes", "n_drifts"),
    [
        ({}, 3),  # floor(2 x 240 s / 128 s)
        ({"hrf": "glover + derivative", "high_pass_s": 60, "slice_time_ref": 0.0}, 8),
        ({"hrf": "spm + derivative + dispersion", "drift": "none"}, 0),
    ],
)
def test_a_design_is_the_one_that_nilearn_fits(rng, chosen, changes, n_drifts):
    import nibabel as nib

    table, keep, _ = chosen
    events = study_events(rng)
    made = design_of(events, table, keep, **changes)
    glm = defaults("glm", **changes)

    image = nib.Nifti1Image(rng.normal(100, 1, (2, 2, 2, N_VOLUMES)), np.eye(4))
    model = FirstLevelModel(
        t_r=TR,
        slice_time_ref=glm["slice_time_ref"],
        hrf_model=glm["hrf"],
        drift_model=None if glm["drift"] == "none" else "cosine",
        high_pass=1 / glm["high_pass_s"],
        min_onset=glm["min_onset_s"],
        mask_img=nib.Nifti1Image(np.ones((2, 2, 2), dtype=np.int8), np.eye(4)),
        noise_model="ols",
        minimize_memory=True,
    )
    with (
        warnings.catch_warnings()
    ):  # of shocks without duration, of nilearn's own insides
        warnings.simplefilter("ignore")
        model.fit(
            image,
            events[["onset", "duration", "trial_type"]],
            confounds=table,
            sample_masks=np.flatnonzero(keep),
        )
    (expected,) = model.design_matrices_
    expected = expected[keep] if len(expected) == N_VOLUMES else expected
    assert made.columns == tuple(expected)
    assert made.matrix.shape == (N_VOLUMES - 3, len(made.columns))
    assert sum(name.startswith("drift_") for name in made.columns) == n_drifts
    for name in made.columns:
        ours, theirs = column(made, name), expected[name].to_numpy()
        if name in table:
            assert abs(ours.mean()) < 1e-9
            assert ours.std() == pytest.approx(1)
            assert np.corrcoef(ours, theirs)[0, 1] == pytest.approx(1)
        else:
            assert np.allclose(ours, theirs, atol=1e-10), name
    assert made.cells == ("alone_safe", "alone_threat")


def spm_response(time):
    """SPM's response to an impulse, of area 1 over 32 s (spm_hrf.m, its default parameters)."""
    raised = stats.gamma.cdf(time, 6) - 0.167 * stats.gamma.cdf(time, 16)
    return raised / (stats.gamma.cdf(32, 6) - 0.167 * stats.gamma.cdf(32, 16))


def boxcar_response(time, duration):
    return spm_response(time) - spm_response(time - duration)


@pytest.mark.parametrize("slice_time_ref", [0.0, 0.5, 1.0])
def test_a_regressor_is_the_response_by_hand(slice_time_ref):
    events = tidy([("alone_threat", 20, 8), ("alone_threat", 75, 5)])
    made = design_of(events, slice_time_ref=slice_time_ref)
    times = (np.arange(N_VOLUMES) + slice_time_ref) * TR
    expected = boxcar_response(times - 20, 8) + boxcar_response(times - 75, 5)
    # The grid of nilearn has steps of TR / 50, and its response starts one step late; the
    # steepest slope of a boxcar's response is the peak of the impulse's, .18 per s. Half a
    # volume would miss by 25 steps.
    assert np.abs(column(made, "alone_threat") - expected).max() < 3 * TR / 50 * 0.18


def test_events_a_volume_later_move_the_regressors_by_a_row(rng):
    events = study_events(rng)
    made, moved = (design_of(events.assign(onset=events["onset"] + d)) for d in (0, TR))
    for name in ("alone_threat", "alone_safe", "shock"):
        first, second = column(made, name), column(moved, name)
        assert np.allclose(second[1:], first[:-1], atol=1e-3 * first.max())
        assert np.abs(second - first).max() > 0.1 * first.max()


def test_the_moment_of_a_volume_moves_the_events_against_it(rng):
    events = study_events(rng)
    middle = design_of(events.assign(onset=events["onset"] + TR / 2))
    start = design_of(events, slice_time_ref=0.0)
    first, second = column(middle, "alone_threat"), column(start, "alone_threat")
    assert (
        np.abs(first - second).max() < TR / 50 * 0.18
    )  # a step of the grid, see above


def test_an_early_event_counts_up_to_the_configured_onset():
    events = tidy([("alone_threat", -10, 12), ("alone_safe", 50, 6)])
    made = design_of(events, min_onset_s=-12)
    expected = boxcar_response((np.arange(N_VOLUMES) + 0.5) * TR + 10, 12)
    assert np.abs(column(made, "alone_threat") - expected).max() < 0.03
    unfit(r"1 of 2 events begin before -5 s .*threat at -10 s", events, min_onset_s=-6)


@pytest.mark.parametrize("duration", [1.0, 6.0, 20.0, 60.0])
@pytest.mark.parametrize("tr", [0.7, 2.0])
def test_the_peak_is_that_of_one_event_by_hand(duration, tr):
    time = np.arange(0, 200, 0.001)
    expected = boxcar_response(time, duration).max()
    found = design.peak(tr, defaults("glm", peak_duration_s=duration))
    # nilearn rounds an event to steps of TR / 50, and sums over them for the integral
    assert found == pytest.approx(expected, rel=tr / 50 / min(duration, 32))


@pytest.mark.parametrize("family", ["spm", "glover"])
def test_derivatives_leave_the_peak_and_the_trials_alone(rng, family):
    events = study_events(rng)
    plain = design_of(events, hrf=family, single_trials=True)
    for model in (f"{family} + derivative", f"{family} + derivative + dispersion"):
        more = design_of(events, hrf=model, single_trials=True)
        assert more.peak == pytest.approx(plain.peak, rel=1e-12)
        assert np.array_equal(more.trials, plain.trials)
        assert more.cells == plain.cells
    # sampled every TR / 50 from a run of its own
    alone = design_of(
        tidy([("alone_threat", 4, 6)]),
        n_volumes=1000,
        tr=TR / 50,
        oversampling=10,
        hrf=family,
    )
    assert plain.peak == pytest.approx(column(alone, "alone_threat").max(), rel=2e-3)


def test_trials_add_up_to_their_cell(rng, chosen):
    table, keep, _ = chosen
    events = study_events(rng)
    made = design_of(events, table, keep, single_trials=True)
    cells = events[events["condition"].notna()]
    assert made.trial_of == tuple(cells["regressor"])
    assert made.trials.shape == (N_VOLUMES - 3, len(cells))
    for name in made.cells:
        mine = np.array(made.trial_of) == name
        assert np.allclose(made.trials[:, mine].sum(axis=1), column(made, name))
    peaks = ((np.arange(N_VOLUMES) + 0.5) * TR)[keep][made.trials.argmax(axis=0)]
    assert (
        np.abs(peaks - cells["onset"] - 8).max() < 2 * TR
    )  # in the order of the events
    assert design_of(events, table, keep).trials.shape == (N_VOLUMES - 3, 0)


def test_scaled_confounds_survive_where_squares_would_not(rng):
    tiny = pd.DataFrame({"square": rng.normal(size=N_VOLUMES) ** 2 * 1e-20})
    large = tiny.assign(large=rng.normal(size=N_VOLUMES) * 1e9 + 1e12)
    made = design_of(study_events(rng), large)
    assert np.allclose(column(made, "square"), stats.zscore(large["square"]), atol=1e-9)
    run, _ = assess(made, study_events(rng))
    assert run["rank"] == len(made.columns)
    assert run["condition_number"] < 10


# --- Events that cannot be modelled -----------------------------------------------------------


def test_events_after_the_end_are_refused_where_nothing_is_left():
    late = tidy(
        [("alone_threat", 20, 6), ("alone_safe", 240, 6), ("alone_safe", 300, 6)]
    )
    unfit(r"no event of alone_safe \(2 events, the first at 240 s\) begins", late)
    unfit("before the last volume at 239 s", late)
    rest = tidy([("alone_threat", 20, 6), ("rating", 250, 6)])
    unfit(r"rating \(1 event, the first at 250 s\).*events.ignore", rest)


def test_events_that_would_be_counted_wrongly_are_refused():
    twice = tidy(
        [("alone_threat", 20, 6), ("alone_safe", 40, 6), ("alone_threat", 20, 6)]
    )
    unfit("1 of 3 events are listed more than once.*alone_threat at 20 s", twice)
    brief = tidy([("alone_threat", 20, 0), ("alone_safe", 40, 6)])
    unfit("1 of 2 events last 0 s.*alone_threat at 20 s", brief)
    none = tidy([("shock", 20, 1)])
    unfit("none of 1 events makes a cell", none)


@pytest.mark.parametrize(
    "name", ["csf", "constant", "drift_1", "alone_threat_derivative"]
)
def test_a_trial_type_with_the_name_of_another_column_is_refused(rng, name):
    events = tidy([("alone_threat", 20, 6), (name, 40, 6)])
    confounds = pd.DataFrame({"csf": rng.normal(size=N_VOLUMES)})
    unfit(f"{name} names both a trial type", events, confounds=confounds)


def test_confounds_of_another_run_are_refused(rng):
    table = pd.DataFrame({"csf": rng.normal(size=119)})
    keep = np.ones(119, dtype=bool)
    unfit(
        "119 rows, but the image has 120", study_events(rng), confounds=table, keep=keep
    )


def test_a_high_pass_shorter_than_two_volumes_is_refused(rng):
    unfit("glm.high_pass_s", study_events(rng), high_pass_s=10, tr=5.0)


# --- Quality ------------------------------------------------------------------------------------

STILL = design.Motion(pd.DataFrame(index=range(N_VOLUMES)), 0.1, 0.3, 0, 0)


def assess(made, events, motion=STILL, tr=TR, glm=GLM, confounds=CONFOUNDS):
    return design.assess_design(
        made, events, motion, tr=tr, glm=glm, confounds=confounds
    )


def judge(made, events, **settings):
    """Assess a run and refuse what cannot be estimated."""
    labels = {"subject": "01", "session": np.nan, "run": "1"}
    run, cells = assess(made, events, **settings)
    glm, confounds = settings.get("glm", GLM), settings.get("confounds", CONFOUNDS)
    design.require_estimable(
        pd.DataFrame([labels | run]), cells.assign(**labels), glm, confounds
    )


def test_a_run_is_counted(rng, chosen):
    table, keep, motion = chosen
    events = study_events(rng)
    made = design_of(events, table, keep)
    run, cells = assess(made, events, motion)
    # 3 event regressors, 24 of motion, 2 tissues, 3 drifts, constant
    assert (run["n_columns"], run["n_confounds"], run["rank"]) == (33, 26, 33)
    assert (run["n_volumes"], run["n_kept"], run["n_censored"]) == (120, 117, 3)
    assert run["censored"] == pytest.approx(3 / 120)
    assert run["df"] == 117 - np.linalg.matrix_rank(made.matrix)
    assert (run["n_over_fd"], run["max_fd"]) == (3, 2.0)
    assert np.isnan(run["warnings"])
    units = made.matrix / np.linalg.norm(made.matrix, axis=0)
    assert run["condition_number"] == pytest.approx(np.linalg.cond(units))
    assert cells["regressor"].tolist() == ["alone_safe", "alone_threat"]
    assert cells["cue"].tolist() == ["safe", "threat"]
    assert cells["n_events"].tolist() == [9, 9]
    assert cells["total_duration"].tolist() == [54.0, 54.0]
    judge(made, events, motion=motion)


@pytest.mark.parametrize("hrf", ["spm", "glover + derivative"])
def test_inflation_is_that_of_statsmodels_in_the_whole_design(rng, chosen, hrf):
    table, keep, motion = chosen
    events = study_events(rng)
    made = design_of(events, table, keep, hrf=hrf)
    _, cells = assess(made, events, motion)
    for name, found in cells[["regressor", "vif"]].to_numpy():
        expected = variance_inflation_factor(made.matrix, made.columns.index(name))
        assert found == pytest.approx(expected, rel=1e-8)


def test_columns_that_go_together_are_warned_of_and_then_refused(rng):
    """A shock at the end of every threat: the more alike, the higher the inflation."""
    threats = np.arange(10, 220, 20)
    rows = [("alone_threat", onset, 6) for onset in threats]
    rows += [("alone_safe", onset + 11, 4) for onset in threats[:9]]
    events = tidy(rows + [("shock", onset + 1, 5.5) for onset in threats])
    made = design_of(events)
    run, cells = assess(made, events)
    row = cells.set_index("regressor").loc["alone_threat"]
    assert row["vif"] > 10
    assert row["most_alike"] == "shock"
    r = np.corrcoef(column(made, "alone_threat"), column(made, "shock"))[0, 1]
    assert row["r_most_alike"] == pytest.approx(r)
    assert row["warnings"].startswith(
        f"VIF {row['vif']:.1f} > 5; r = {r:.2f} with shock"
    )
    assert run["rank"] == len(made.columns)
    with pytest.raises(StudyError) as caught:
        judge(made, events)
    text = str(caught.value)
    assert "1 fault in the designs (of 1 runs)" in text
    assert (
        f"sub-01 run-1, alone_threat: VIF {row['vif']:.1f} > 10 (glm.max_vif)" in text
    )
    assert "bids.exclude" in text
    judge(made, events, glm=defaults("glm", max_vif=row["vif"] + 0.01))


def test_identical_regressors_are_refused_by_name(rng):
    onsets = np.arange(10, 220, 20)
    pairs = [(name, t, 6) for t in onsets for name in ("alone_threat", "partner_safe")]
    events = tidy(pairs + [("alone_safe", t + 11, 4) for t in onsets[:9]])
    run, cells = assess(design_of(events), events)
    assert np.isinf(cells.set_index("regressor")["vif"]["alone_threat"])
    assert run["dependent"] == "alone_threat, partner_safe"
    assert run["df"] == N_VOLUMES - 6
    with pytest.raises(StudyError) as caught:
        judge(design_of(events), events)
    text = str(caught.value)
    assert "rank 6 of 7 columns" in text
    assert "alone_threat, partner_safe" in text
    assert "VIF inf > 10" in text


def test_a_constant_confound_is_refused_by_name(rng):
    table = pd.DataFrame(
        {"csf": np.full(N_VOLUMES, 0.1), "wm": rng.normal(size=N_VOLUMES)}
    )
    events = study_events(rng)
    with pytest.raises(StudyError, match=r"rank 8 of 9 columns.*each other: csf"):
        judge(design_of(events, table), events)


def test_a_cell_of_which_censoring_leaves_nothing_is_refused(rng):
    keep = np.ones(N_VOLUMES, dtype=bool)
    keep[48:70] = False  # 96 to 140 s
    events = tidy(
        [("alone_threat", 98, 6), *(("alone_safe", t, 6) for t in (10, 50, 150, 190))]
    )
    made = design_of(events, keep=keep)
    _, cells = assess(made, events)
    assert cells.set_index("regressor")["n_censored_events"]["alone_threat"] == 1
    with pytest.raises(StudyError, match="each other: alone_threat"):
        judge(made, events)


def test_too_many_columns_or_censored_volumes_are_refused(derivative):
    _, path = derivative
    options = defaults("confounds", strategy=["motion", "wm_csf"], wm_csf="full")
    table, keep, motion = design.load_confounds(path, options, "sub-01")
    events = tidy([("alone_threat", 8, 6), ("alone_safe", 25, 6)])
    made = design_of(events, table, keep, n_volumes=30)
    with pytest.raises(
        StudyError, match=rf"no degree of freedom \({keep.sum()} volumes"
    ):
        judge(made, events, motion=motion)

    keep = np.arange(30) % 2 == 1
    few = defaults("confounds", strategy=[], max_censored=0.49)
    made = design_of(events, keep=keep, n_volumes=30)
    match = r"15 of 30 volumes censored \(50% > 49%, confounds.max_censored\)"
    with pytest.raises(StudyError, match=match):
        judge(made, events, motion=motion, confounds=few)
    judge(made, events, motion=motion, confounds=few | {"max_censored": 0.5})


def test_the_warning_of_a_run_is_its_fault(rng):
    keep = np.arange(N_VOLUMES) % 3 == 0
    run, _ = assess(design_of(study_events(rng), keep=keep), study_events(rng))
    assert run["warnings"].startswith("80 of 120 volumes censored (67% > 50%")


@pytest.mark.parametrize(
    ("period", "low", "high"),
    [(20, 0.0, 0.05), (128, 0.25, 0.7), (200, 0.8, 1.0)],  # the cut-off is at 128 s
)
def test_the_high_pass_takes_slow_blocks(period, low, high):
    n_volumes = 300
    onsets = np.arange(0, n_volumes * TR, period)
    events = tidy([("alone_threat", onset, period / 2) for onset in onsets])
    made = design_of(events, n_volumes=n_volumes)
    still = design.Motion(pd.DataFrame(index=range(n_volumes)), 0.1, 0.3, 0, 0)
    _, cells = assess(made, events, still)
    loss = cells["high_pass_loss"][0]
    assert low <= loss <= high
    # The drifts are the first functions of the cosine transform, period >= 128 s.
    power = fft.dct(column(made, "alone_threat"), norm="ortho") ** 2
    n_drifts = int(2 * n_volumes * TR / 128)
    assert loss == pytest.approx(power[1 : n_drifts + 1].sum() / power[1:].sum())
    warned = "the high-pass takes" in str(cells["warnings"][0])
    assert warned == (period >= 128)
    # The same with the cosines in the confound table, as fMRIPrep brings them.
    cosines = [column(made, f"drift_{n}") for n in range(1, n_drifts + 1)]
    table = pd.DataFrame({f"cosine{n:02d}": c for n, c in enumerate(cosines)})
    other = design_of(events, table, n_volumes=n_volumes, drift="none")
    _, again = assess(other, events, still)
    assert again["high_pass_loss"][0] == pytest.approx(loss)


def test_motion_that_goes_with_the_task_is_found(rng, chosen):
    table, keep, motion = chosen
    events = study_events(rng)
    made = design_of(events, table, keep)
    threat = np.zeros(N_VOLUMES)
    threat[keep] = column(made, "alone_threat")
    parameters = motion.parameters.copy()
    parameters["rot_y"] = 0.0
    flinch = -threat + rng.normal(scale=0.3, size=N_VOLUMES)
    for name in ("trans_z", "framewise_displacement"):
        moved = parameters.assign(**{name: np.r_[np.nan, flinch[1:]]})
        moved = design.Motion(moved, 0.1, 0.3, 0, 0)
        _, cells = assess(made, events, moved)
        row = cells.set_index("regressor").loc["alone_threat"]
        known = keep & (np.arange(N_VOLUMES) > 0)
        expected = stats.pearsonr(threat[known], flinch[known]).statistic
        assert expected < -0.5
        assert row["motion_parameter"] == name
        assert row["r_motion"] == pytest.approx(expected)
        assert f"goes with {name} (r = {expected:.2f})" in row["warnings"]
    _, cells = assess(made, events)
    assert cells["r_motion"].isna().all()
    assert cells["motion_parameter"].isna().all()


def test_events_lost_to_censoring_and_to_the_end_are_counted():
    onsets = [10.0, 60, 110, 160, 210]
    rows = [("alone_threat", onset, 6) for onset in onsets]
    events = tidy([*rows, ("alone_threat", 239, 4), ("alone_safe", 35, 6)])
    keep = np.ones(N_VOLUMES, dtype=bool)
    keep[58:62] = False  # 116 to 124 s: the peak of the event at 110 s
    keep[33] = False  # a volume of the response at 60 s
    _, cells = assess(design_of(events, keep=keep), events)
    rows = cells.set_index("regressor")
    assert rows["n_censored_events"].to_dict() == {"alone_threat": 1, "alone_safe": 0}
    assert rows["n_late_events"].to_dict() == {"alone_threat": 1, "alone_safe": 0}
    said = "1 of 6 events censored away; 1 of 6 events after the last volume"
    assert said in rows["warnings"]["alone_threat"]


# --- All subjects, and their designs on disk ------------------------------------------------------


@pytest.fixture
def study(rng, tmp_path):
    """Two subjects, the first with two runs, the second with a session and one run."""
    labels = [("01", np.nan, "1"), ("01", np.nan, "2"), ("02", "a", np.nan)]
    rows, events = [], {}
    for subject, session, run in labels:
        path = write_confounds(confound_table(rng), tmp_path, subject, run)
        rows.append((subject, session, run, str(path), N_VOLUMES, TR))
        key = tuple(
            None if pd.isna(label) else label for label in (subject, session, run)
        )
        events[key] = study_events(rng)
    names = ["subject", "session", "run", "confounds", "n_volumes", "tr"]
    return pd.DataFrame(rows, columns=names), events


def test_a_study_is_designed_and_judged_at_once(study, tmp_path):
    runs, events = study
    designs, run_rows, cell_rows = design.design_subjects(runs, events, GLM, CONFOUNDS)
    assert {subject: list(made) for subject, made in designs.items()} == {
        "01": ["sub-01 run-1", "sub-01 run-2"],
        "02": ["sub-02 ses-a"],
    }
    table, keep, motion = design.load_confounds(runs["confounds"][1], CONFOUNDS, "")
    tidy_events = events["01", None, "2"]
    alone = design_of(tidy_events, table, keep)
    assert np.array_equal(designs["01"]["sub-01 run-2"].matrix, alone.matrix)
    run, cells = assess(alone, tidy_events, motion)
    assert run_rows.loc[1, list(run)].to_dict() == pytest.approx(run, nan_ok=True)
    assert cell_rows.loc[2, "vif"] == cells["vif"][0]
    design.require_estimable(run_rows, cell_rows, GLM, CONFOUNDS)

    for name, rows in (("runs", run_rows), ("regressors", cell_rows)):
        io.write_results(rows, tmp_path / "qc" / f"{name}.tsv")
        again = io.read_results(tmp_path / "qc" / f"{name}.tsv")
        pd.testing.assert_frame_equal(again, rows, check_dtype=False)


def test_every_run_that_cannot_be_designed_is_listed(study):
    runs, events = study
    runs.loc[0, "n_volumes"] = 119
    events["02", "a", None].loc[0, "onset"] = -100.0
    with pytest.raises(StudyError) as caught:
        design.design_subjects(runs, events, GLM, CONFOUNDS)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the designs of 2 of 3 runs cannot be made:"
    assert lines[1].startswith("  - sub-01 run-1: the confound table has 120 rows")
    assert lines[2].startswith("  - sub-02 ses-a: 1 of 22 events begin before")


def test_every_design_that_cannot_be_estimated_is_listed(study):
    runs, events = study
    _, run_rows, cell_rows = design.design_subjects(runs, events, GLM, CONFOUNDS)
    run_rows.loc[2, "censored"] = 0.6
    cell_rows.loc[[1, 3], "vif"] = [11.0, np.inf]
    with pytest.raises(StudyError) as caught:
        design.require_estimable(run_rows, cell_rows, GLM, CONFOUNDS)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("3 faults in the designs (of 3 runs)")
    assert lines[1].startswith("  - sub-02 ses-a: ")
    assert lines[2].startswith("  - sub-01 run-1, alone_threat: VIF 11.0")
    assert lines[3].startswith("  - sub-01 run-2, alone_threat: VIF inf")


def test_designs_come_back_as_they_were_saved(study, tmp_path):
    runs, events = study
    glm = defaults("glm", single_trials=True)
    designs, *_ = design.design_subjects(runs, events, glm, CONFOUNDS)
    for name in ("one", "two"):
        rundesign.save_designs(designs["01"], tmp_path / f"{name}.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    again = rundesign.load_designs(tmp_path / "one.npz")
    assert list(again) == list(designs["01"])
    last = list(again)[-1]
    assert list(rundesign.load_designs(tmp_path / "one.npz", [last])) == [last]
    for name, made in designs["01"].items():
        for part, value in vars(made).items():
            restored = getattr(again[name], part)
            assert type(restored) is type(value)
            assert np.array_equal(restored, value)
            assert np.asarray(restored).dtype == np.asarray(value).dtype
