"""The simulated study on disk: BIDS that a validator accepts, and the same bytes every time."""

import hashlib
import json
import shutil
from functools import cache

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds

from handhold import scanner, simulate, simulate_bids
from handhold.simulate import Cohort, Noise, Protocol

SHORT = Protocol(n_trials=2)
# A head that jerks, and so much dropout that the mask loses voxels.
RESTLESS = Noise(n_spikes=9, dropout=0.95)
SMALL = Cohort(n_subjects=2, voxel_size_mm=8, protocol=SHORT, noise=RESTLESS)
BY_TRIAL = Cohort(n_subjects=1, voxel_size_mm=8, protocol=SHORT, ratings="trial")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return a function that writes a cohort once and gives its folder."""
    written = {}
    # nilearn takes two seconds to resample its template
    tissues = cache(simulate_bids.standard_tissues)

    def write(cohort, copy="a"):
        if (cohort, copy) not in written:
            written[cohort, copy] = tmp_path_factory.mktemp("study")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(simulate_bids, "standard_tissues", tissues)
                simulate_bids.write_dataset(cohort, written[cohort, copy])
        return written[cohort, copy]

    return write


def hashes(folder):
    """Return the checksum of every file under a folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def expected_files(cohort):
    files = simulate_bids.shared_files(cohort)
    for subject in simulate.subjects(cohort.n_subjects):
        files += simulate_bids.subject_files(cohort, subject)
    return set(files)


# The same study every time


def test_same_cohort_same_bytes(study):
    assert hashes(study(SMALL)) == hashes(study(SMALL, copy="b"))


def test_another_seed_changes_every_series_event_and_rating(study):
    changed = Cohort(
        n_subjects=2, voxel_size_mm=8, protocol=SHORT, noise=SMALL.noise, seed=1
    )
    before, after = hashes(study(SMALL)), hashes(study(changed))
    assert set(before) == set(after)
    same = {name for name in before if before[name] == after[name]}
    drawn = ("bold.nii.gz", "events.tsv", "timeseries.tsv", "unpleasantness.tsv")
    assert not [name for name in same if name.endswith(drawn)]
    assert "receptor.nii.gz" in same


def test_adding_a_subject_changes_nobody(study):
    more = Cohort(n_subjects=3, voxel_size_mm=8, protocol=SHORT, noise=SMALL.noise)
    old, new = hashes(study(SMALL)), hashes(study(more))
    kept = [name for name in old if "sub-" in name]
    assert len(kept) == 2 * 3 * 9
    assert all(old[name] == new[name] for name in kept)
    for table in ("participants.tsv", "phenotype/unpleasantness.tsv"):
        text = (study(more) / table).read_text()
        assert text.startswith((study(SMALL) / table).read_text())


def test_gzip_headers_hold_no_time_and_no_name(study):
    paths = list(study(SMALL).rglob("*.gz"))
    assert len(paths) == 5 + 2 * 3 * 3
    for path in paths:
        header = path.read_bytes()[:10]
        assert header[:4] == b"\x1f\x8b\x08\x00"  # flags 0: no file name
        assert header[4:8] == b"\x00" * 4  # modification time


# What is announced is what is written


@pytest.mark.parametrize("cohort", [SMALL, BY_TRIAL], ids=["block", "trial"])
def test_the_files_are_those_announced(study, cohort):
    written = {str(p.relative_to(study(cohort))) for p in study(cohort).rglob("*")}
    folders = {
        str(p.relative_to(study(cohort)))
        for p in study(cohort).rglob("*")
        if p.is_dir()
    }
    assert written - folders == expected_files(cohort)


def test_every_subject_has_the_same_pattern():
    pattern = simulate_bids.subject_files(SMALL, "{subject}")
    files = simulate_bids.subject_files(SMALL, "02")
    assert [name.format(subject="02") for name in pattern] == files


def test_the_runs_table_lists_what_is_there(study):
    table = simulate_bids.runs_table(SMALL, study(SMALL))
    names = ["subject", "session", "run", "bold", "mask", "confounds", "events"]
    assert list(table) == [*names, "sidecar"]
    assert table[["subject", "run"]].to_numpy().tolist() == [
        [subject, run] for subject in ("01", "02") for run in "123"
    ]
    assert table["session"].isna().all()
    for kind in [*names[3:], "sidecar"]:
        for subject, run, path in table[["subject", "run", kind]].to_numpy():
            assert f"sub-{subject}_" in path
            assert f"_run-{run}_" in path
            assert (study(SMALL) / path).is_file()
    for path in table["sidecar"]:
        assert json.loads((study(SMALL) / path).read_text())["RepetitionTime"] == 2


@pytest.mark.parametrize("cohort", [SMALL, BY_TRIAL], ids=["block", "trial"])
def test_the_description_fits_the_dataset(study, cohort):
    folder = study(cohort)
    sections = simulate_bids.describe(cohort, folder)
    bids, events = sections["bids"], sections["events"]
    for row in simulate_bids.runs_table(cohort, folder).itertuples():
        assert row.bold.startswith(f"{bids['derivatives']}/sub-")
        assert f"_task-{bids['task']}_" in row.bold
        assert f"_space-{bids['space']}_res-{bids['resolution']}_" in row.bold
        table = pd.read_csv(row.events, sep="\t")
        kinds = set(table[events["type_column"]])
        cells = {cell["trial_type"] for cell in events["cells"]}
        assert kinds <= cells | set(events["others"])
        assert cells <= kinds
        order = simulate.block_order(int(row.subject) - 1)
        hands = set(table[events["condition"]["column"]])
        assert hands == {order[int(row.run) - 1]}
        assert ("rating" in events) == ("rating" in table)
    ratings = sections["ratings"]
    assert ratings["higher_is"] == "more_unpleasant"
    assert ("table" in ratings) == (cohort.ratings == "block")


def test_ratings_of_blocks_are_in_the_phenotype(study):
    ratings = simulate_bids.describe(SMALL, study(SMALL))["ratings"]
    wide = pd.read_csv(ratings["table"], sep="\t").set_index(ratings["subject"])
    for row in simulate.simulate_ratings(SMALL).itertuples():
        column = ratings["wide"][row.condition]
        assert wide.loc[row.participant_id, column] == row.unpleasantness
    sidecar = json.loads(
        (study(SMALL) / "phenotype/unpleasantness.json").read_text(encoding="utf-8")
    )
    assert set(ratings["wide"].values()) < set(sidecar)


def test_events_hold_the_ratings_of_trials(study):
    path = simulate_bids.runs_table(BY_TRIAL, study(BY_TRIAL))["events"][0]
    text = (study(BY_TRIAL) / path).read_text()
    assert text.split("\n")[0] == "onset\tduration\ttrial_type\thand\trating"
    assert "\tn/a" in text
    written = pd.read_csv(study(BY_TRIAL) / path, sep="\t")
    drawn = simulate.simulate_events(BY_TRIAL, 0, 1)
    pd.testing.assert_frame_equal(written, drawn, check_dtype=False)


def test_sidecars_describe_every_column_and_kind_of_event(study):
    for cohort in (SMALL, BY_TRIAL):
        folder = study(cohort)
        sidecar = json.loads((folder / "task-handholding_events.json").read_text())
        for path in simulate_bids.runs_table(cohort, folder)["events"]:
            events = pd.read_csv(path, sep="\t")
            assert list(events) == list(sidecar)
            assert set(events["trial_type"]) <= set(sidecar["trial_type"]["Levels"])
        participants = pd.read_csv(folder / "participants.tsv", sep="\t")
        described = json.loads((folder / "participants.json").read_text())
        assert list(participants) == list(described)


# What the files hold


def test_the_series_is_the_scan_in_the_steps_of_the_scanner(study):
    folder = study(SMALL)
    template = simulate_bids.read_template(folder)
    row = simulate_bids.runs_table(SMALL, folder).iloc[4]  # subject 02, run 2
    image = nib.load(row["bold"])
    scan = scanner.scan_run(SMALL, 1, 2, template)
    values = image.get_fdata()
    assert image.get_data_dtype() == np.int16
    assert image.shape == (*template.mask.shape, SMALL.n_volumes)
    assert image.header.get_zooms() == (8, 8, 8, 2)
    assert np.array_equal(image.affine, template.affine)
    assert image.header["sform_code"] == 4  # MNI
    assert (values[~template.mask] == 0).all()
    difference = values[template.mask].T - scan.series
    assert np.abs(difference).max() <= scanner.STEP / 2 + 1e-3
    assert np.abs(difference).max() > scanner.STEP / 4
    mask = np.asarray(nib.load(row["mask"]).dataobj)
    inside = scanner.brain_mask(SMALL, 1, template)
    assert np.array_equal(mask[template.mask], inside)
    assert not mask[~template.mask].any()
    assert 0.9 < inside.mean() < 1
    # the confounds are measured in that mask
    table = pd.read_csv(row["confounds"], sep="\t")
    expected = scan.series[:, inside].mean(axis=1, dtype=float)
    np.testing.assert_allclose(table["global_signal"], expected, rtol=1e-6)


def test_raw_series_link_to_the_preprocessed_ones_wherever_the_dataset_lies(
    study, tmp_path
):
    moved = tmp_path / "elsewhere"
    shutil.copytree(study(SMALL), moved, symlinks=True)
    raw = sorted(moved.glob("sub-*/func/*_bold.nii.gz"))
    assert len(raw) == 6
    for path in raw:
        assert path.is_symlink()
        assert path.resolve().is_relative_to(moved / simulate_bids.DERIVATIVES)
        assert path.name.removesuffix("_bold.nii.gz") in path.resolve().name
        said = json.loads(
            path.with_name(path.name.replace(".nii.gz", ".json")).read_text()
        )
        assert "links to the preprocessed series" in said["Description"]


def test_receptor_map_has_background_zero_and_says_it_is_modelled(study):
    template = simulate_bids.read_template(study(SMALL))
    values = np.asarray(nib.load(study(SMALL) / "receptor.nii.gz").dataobj)
    assert (values[~template.mask] == 0).all()
    assert np.array_equal(values[template.mask], template.binding.astype("f4"))
    assert (template.binding > 0).all()
    sidecar = json.loads((study(SMALL) / "receptor.json").read_text())
    assert sidecar["Modelled"] is True
    assert sidecar["Description"].startswith("MODELLED, not an image of anyone")


def test_the_template_is_the_plan_on_nilearns_brain(study):
    read, planned = simulate_bids.read_template(study(SMALL)), simulate_bids.plan(SMALL)
    for name, values in vars(planned).items():
        assert np.array_equal(getattr(read, name), values), name
    # an adult brain is some 1.9 l, two fifths of it white, a few percent fluid
    assert 1.5e6 < read.mask.sum() * 8**3 < 2.2e6
    assert 0.2 < read.white.mean() < 0.5
    assert 0.02 < read.fluid.mean() < 0.25


def test_truth_is_written(study):
    written = json.loads((study(SMALL) / "truth.json").read_text())
    assert written == simulate.truth(SMALL)


STRATEGIES = [
    {"strategy": ["motion"], "motion": "full"},
    {"strategy": ["wm_csf"], "wm_csf": "full"},
    {"strategy": ["global_signal"], "global_signal": "full"},
    {
        "strategy": ["motion", "high_pass", "compcor"],
        "compcor": "anat_combined",
        "n_compcor": 5,
    },
    {
        "strategy": ["high_pass", "compcor"],
        "compcor": "anat_separated",
        "n_compcor": 3,
    },
    {"strategy": ["motion", "high_pass", "wm_csf", "scrub"], "scrub": 0},
]
N_COLUMNS = [24, 8, 4, 6 + 5 + 1, 3 + 3 + 1, 24 + 2 + 1]


@pytest.mark.parametrize(
    ("options", "n_columns"), list(zip(STRATEGIES, N_COLUMNS, strict=True))
)
def test_nilearn_reads_the_confounds(study, options, n_columns):
    row = simulate_bids.runs_table(SMALL, study(SMALL)).iloc[3]
    options = {"motion": "basic", **options}
    if "scrub" in options["strategy"]:
        options["motion"] = "full"
    table, kept = load_confounds(
        row["bold"], **options, fd_threshold=0.5, std_dvars_threshold=1.5
    )
    assert table.shape == (SMALL.n_volumes, n_columns)
    assert np.isfinite(table.to_numpy()).all()
    if "scrub" in options["strategy"]:
        confounds = pd.read_csv(row["confounds"], sep="\t")
        moved = (confounds["framewise_displacement"] > 0.5) | (
            confounds["std_dvars"] > 1.5
        )
        assert kept.tolist() == np.flatnonzero(~moved).tolist()
        assert 0 < moved.sum() < len(moved)
    first = (study(SMALL) / row["confounds"]).read_text().split("\n")[1]
    assert first.count("n/a") == 3 + 2 * 9


@pytest.mark.parametrize("cohort", [SMALL, BY_TRIAL], ids=["block", "trial"])
def test_the_validator_finds_no_error(study, cohort, bids_errors):
    folder = study(cohort)
    assert bids_errors(folder) == set()
    stray = folder / "stray.tsv"
    stray.write_text("a\n1\n", encoding="utf-8")
    assert bids_errors(folder) == {"/stray.tsv"}
    stray.unlink()
