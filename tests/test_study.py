"""The simulated study through Snakemake: from nothing to the report, and what reruns when."""

import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import browser
import nibabel as nib
import numpy as np
import pandas as pd
import planted
import pytest
import yaml

from handhold import simulate, simulate_bids, study, worlds
from handhold.errors import StudyError
from handhold.io import RECORD, read_cloud
from handhold.study import open_study, relief_of

ROOT = Path(__file__).parents[1]
SMALL = {
    "study": "small",
    "title": "Small simulated study",
    "source": "simulated",
    "seed": 11,
    # the fewest people for Q3, in two batches; a fifth of the usual noise
    "simulate": {
        "n_subjects": 6,
        "voxel_size_mm": 6,
        "threat_response": 2.0,
        "receptor_slope": 0.5,
        "spread": 0.4,
        "regional_sd": 0,
        "protocol": {"n_trials": 6},
        "noise": {
            "thermal_sd": 0.14,
            "smooth_sd": 0.16,
            "drift_sd": 0.1,
            "physio_sd": 0.08,
            "motion_percent": 0.1,
        },
    },
    "contrasts": [
        {"name": "partner", "baseline": "alone", "held": "partner"},
        {"name": "stranger", "baseline": "alone", "held": "stranger"},
    ],
    "receptors": {
        "target": "MOR_modelled",
        "panel": ["decoy_front", "decoy_patches_1"],
    },
    "regions": {"min_parcel_voxels": 2},
    "tests": {"n_permutations": 999, "n_bootstrap": 999},
    "nulls": {"n": 999, "families": ["moran", "gaussian"]},
}


# What tells and seals the results: behind whatever is run again.
AFTER = ("write_paper", "record_results", "write_report")


class Checkout:
    """A copy of the project in which a study can be run and a module be edited."""

    def __init__(self, folder: Path):
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in ("workflow", "atlases", "config"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "Snakefile", folder)
        # batches of designs smaller than the study, as the studies of users have them
        module = folder / "workflow" / "handhold" / "study.py"
        code = module.read_text(encoding="utf-8")
        assert "\nBATCH = 8\n" in code
        module.write_text(code.replace("\nBATCH = 8\n", "\nBATCH = 4\n"), "utf-8")
        self.environment = {**os.environ, "PYTHONPATH": str(folder / "workflow")}

    def snakemake(self, config: dict, *arguments: str) -> subprocess.CompletedProcess:
        """Run Snakemake on a configuration; its words are in stdout."""
        path = self.folder / "study.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--configfile", path, *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def planned(self, config: dict, *arguments: str) -> set[str]:
        """Return the rules that a dry run would execute."""
        done = self.snakemake(config, "--dry-run", *arguments)
        assert done.returncode == 0, done.stdout
        found = re.findall(r"^ *(?:local)?rule (\w+):$", done.stdout, re.MULTILINE)
        return set(found) - {"all"}

    def planned_people(self, config: dict, rule: str, *arguments: str) -> set[str]:
        """Return the labels for which a dry run would execute a rule."""
        done = self.snakemake(config, "--dry-run", *arguments)
        assert done.returncode == 0, done.stdout
        jobs = re.split(r"^ *(?:local)?rule ", done.stdout, flags=re.MULTILINE)
        own = [job for job in jobs if job.startswith(f"{rule}:")]
        return {label for job in own for label in re.findall(r"label=(\w+)", job)}

    def run(self, config: dict, *arguments: str) -> None:
        """Run Snakemake, which has to succeed."""
        done = self.snakemake(config, "--cores", "2", *arguments)
        assert done.returncode == 0, done.stdout[-3000:]

    def results(self, study: str = "small") -> Path:
        """Return the folder of a study's results."""
        return self.folder / "results" / study

    def table(self, name: str, study: str = "small") -> pd.DataFrame:
        """Read a results table."""
        path = self.results(study) / f"{name}.tsv"
        return pd.read_csv(path, sep="\t", dtype={"subject": str}, na_values=["n/a"])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    made = Checkout(tmp_path_factory.mktemp("study with space and ü"))
    made.run(SMALL)
    return made


def changed(**sections) -> dict:
    """Return the small study with some keys of its sections changed."""
    return {
        **SMALL,
        **{
            name: {**SMALL.get(name, {}), **keys} if isinstance(keys, dict) else keys
            for name, keys in sections.items()
        },
    }


def test_every_promised_output_is_there(checkout):
    results = checkout.folder / "results" / "small"
    promised = [
        *("regions/rois", "regions/parcels", "attenuation/rois", "attenuation/parcels"),
        *(
            "tests/attenuation",
            "tests/correspondence",
            "tests/tracking",
            "tests/coupling",
            "tests/interaction",
            "tests/sensitivity",
        ),
        *("tests/specificity", "relief", "exclusions", "manifest", "provenance/inputs"),
        *("runs", "qc/runs", "qc/regressors", "tests/partials", "tests/joint"),
    ]
    for name in promised:
        columns = checkout.table(name).columns
        meanings = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
        assert list(meanings) == list(columns), name
        assert all(entry["Description"] for entry in meanings.values())
    for name in ("rois", "coverage", "attenuation", "correspondence", "tracking"):
        assert (results / "figures" / f"{name}.svg").stat().st_size > 1000
        assert (results / "figures" / f"{name}.png").stat().st_size > 1000
    for name in ("attenuation.html", "attenuation.tex", "coupling.html"):
        assert (results / "tables" / name).stat().st_size > 100
    assert "</html>" in (results / "report.html").read_text(encoding="utf-8")
    description = json.loads((results / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    left = {path.name for path in results.rglob(".*") if path.is_file()}
    left -= {".bidsignore", ".snakemake_timestamp"}  # the latter of the folder group
    assert not left, "temporary files stayed behind"


def test_the_page_says_what_the_tables_say(checkout, chromium):
    browser.assert_whole(chromium, checkout.results())


def test_nothing_is_left_to_do_after_a_run(checkout):
    assert checkout.planned(SMALL) == set()


def test_each_table_has_a_checksum_and_a_sidecar(checkout):
    results = checkout.results()
    tables = [path for path in results.rglob("*.tsv") if "simulated" not in path.parts]
    assert len(tables) > 40
    listed = checkout.table("provenance/results").set_index("path")
    # written beside the run, or after all others
    apart = {"provenance/steps.tsv", "provenance/results.tsv"}
    assert set(listed.index) == {str(p.relative_to(results)) for p in tables} - apart
    for path in tables:
        assert path.with_suffix(".json").is_file(), path
        name = str(path.relative_to(results))
        if name not in apart:
            content = path.read_bytes()
            assert listed.loc[name, "sha256"] == hashlib.sha256(content).hexdigest()
            assert listed.loc[name, "size"] == len(content)


def test_the_text_for_the_paper_tells_this_study(checkout):
    text = (checkout.results() / "paper" / "text.md").read_text("utf-8")
    n = checkout.table("tests/attenuation")["n"].max()
    assert f"simulated for {n} people" in text
    for name in ("text.tex", "references.bib", "cobidas.tsv"):
        assert (checkout.results() / "paper" / name).stat().st_size > 1000
    page = (checkout.results() / "report.html").read_text("utf-8")
    assert "simulated for 6 people" in page
    assert (checkout.results() / "provenance" / "command.txt").read_text(
        "utf-8"
    ).strip() in (html.unescape(page))


def test_the_run_says_what_ran_and_what_was_kept(checkout):
    """A run after the first keeps all that nothing has changed of."""
    first = checkout.table("provenance/steps").set_index("step")
    assert first["n_run"].sum() > 40
    assert first.loc["read_subject", "n_run"] + first.loc["read_subject", "n_kept"] == 6
    before = checkout.table("provenance/results")
    done = checkout.snakemake(SMALL, "--cores", "1", "--forcerun", "draw_rois")
    assert done.returncode == 0, done.stdout[-3000:]
    steps = checkout.table("provenance/steps").set_index("step")
    assert set(steps.index[steps["n_run"] > 0]) == {"draw_rois", "write_report"}
    assert steps.loc["read_subject", "n_kept"] == 6
    assert steps["asks"].str.endswith("?").all()
    last = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(
        r"handhold: done in .+\. The report: results/small/report\.html", last
    )
    pd.testing.assert_frame_equal(checkout.table("provenance/results"), before)
    page = (checkout.results() / "report.html").read_text("utf-8")
    assert "--forcerun draw_rois" in page


def test_the_results_are_a_bids_dataset(checkout, tmp_path, bids_errors):
    """No error; and a file that nobody thought of is one, so that the ignored are not all."""
    copied = tmp_path / "small"
    shutil.copytree(
        checkout.results(), copied, ignore=shutil.ignore_patterns("simulated")
    )
    assert bids_errors(copied) == set()
    (copied / "stray.tsv").write_text("a\n1\n", encoding="utf-8")
    assert bids_errors(copied) == {"/stray.tsv"}


@pytest.mark.slow
def test_snakemakes_own_report_has_every_figure_with_its_caption(checkout, tmp_path):
    path = tmp_path / "snakemake.html"
    done = checkout.snakemake(SMALL, "--report", str(path))
    assert done.returncode == 0, done.stdout[-3000:]
    page = path.read_text("utf-8")
    drawn = {file.stem for file in (checkout.results() / "figures").glob("*.svg")}
    listed = re.findall(r'"name": "(\w+)\.svg"', page)
    assert set(listed) == drawn
    for category in ("Q1 Attenuation", "Q3 Tracking", "Data quality"):
        assert category in page
    assert "Above 0, holding lowered the response" in page.replace("\\n", " ")
    # nothing is fetched by the page
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', page)


def test_every_subject_and_cell_arrives(checkout):
    rois = checkout.table("regions/rois")
    cells = rois.groupby(["subject", "definition", "region"]).size()
    assert set(cells) == {6}
    assert rois["subject"].nunique() == 6
    attenuation = checkout.table("attenuation/rois")
    assert len(attenuation) == len(cells) * 2


def test_planted_slopes_are_recovered_through_the_whole_line(checkout):
    """Each person's slope of attenuation on binding is gain x slope, as planted."""
    folder = checkout.results() / "simulated"
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    cohort = simulate.cohort_of(SMALL["simulate"], SMALL["seed"])
    assert truth == json.loads(json.dumps(simulate.truth(cohort)))
    manifest = checkout.table("manifest")
    found = planted.compare_slopes(
        cohort,
        simulate_bids.read_template(folder),
        read_cloud(checkout.results() / "regions" / "parcels.npz"),
        manifest.assign(image=str(checkout.folder) + "/" + manifest["image"]),
        checkout.table("attenuation/parcels"),
    )
    partner = found[found["contrast"] == "partner"]
    error, slopes = partner["error"], partner["planted"]
    # four standard errors of the mean error over people; the noise of people is independent
    limit = 4 * error.std() / np.sqrt(len(error))
    assert abs(error.mean()) < limit < slopes.mean() / 2
    assert partner["slope"].corr(slopes) > 0.9


def test_effect_images_are_derivatives_of_bids(checkout):
    folder = checkout.results() / "effects"
    images = sorted(folder.rglob("*.nii.gz"))
    assert len(images) == 6 * (2 * 6 + 1)
    for image in images:
        sidecar = image.with_name(image.name.replace(".nii.gz", ".json"))
        assert json.loads(sidecar.read_text(encoding="utf-8"))["Units"]
    manifest = checkout.table("manifest")
    listed = manifest[["image", "variance_image", "tsnr_image"]].to_numpy().ravel()
    assert {checkout.folder / path for path in listed} == set(images)


def test_the_group_has_an_image_of_each_contrast(checkout):
    """The mean over people of the images themselves, cell by cell."""
    images = checkout.table("manifest").set_index(["subject", "condition", "cue"])[
        "image"
    ]
    cells = {
        key: np.asarray(nib.load(checkout.folder / path).dataobj)
        for key, path in images.items()
    }
    for held in ("partner", "stranger"):
        name = f"contrast-{held}_stat-effect_statmap.nii.gz"
        found = np.asarray(nib.load(checkout.results() / "group" / name).dataobj)
        people = [
            cells[subject, "alone", "threat"]
            - cells[subject, "alone", "safe"]
            - cells[subject, held, "threat"]
            + cells[subject, held, "safe"]
            for subject in dict.fromkeys(key[0] for key in cells)
        ]
        inside = np.isfinite(people).all(axis=0)
        assert inside.sum() > 1000
        expected = np.mean(people, axis=0, dtype=float)[inside]
        np.testing.assert_allclose(found[inside], expected, atol=1e-5)
    rows = checkout.table("tests/correspondence").set_index("scope")
    assert (rows.loc["voxels", "effect"] > 0.3).all()  # as planted
    assert rows.loc[["voxels", "rois"], "verdict"].isna().all()


def test_a_null_seed_reruns_correspondence_and_report_only(checkout):
    assert checkout.planned(changed(nulls={"seed": 5})) == {
        "test_voxels",
        "test_correspondence",
        "test_specificity",
        "test_partials",
        "test_joint",
        "judge",
        "draw_correspondence",
        "draw_specificity",
        "record_provenance",
        *AFTER,
    }


def test_a_table_of_distances_is_looked_for_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = changed(nulls={"distances": "mm.tsv"}, data_root=str(tmp_path))
    with pytest.raises(
        StudyError, match=r"mm\.tsv does not exist \(nulls\.distances\)"
    ):
        open_study(config)
    (tmp_path / "mm.tsv").write_text(
        "region\ta\tb\na\t0\t3\nb\t3\t0\n", encoding="utf-8"
    )
    study = open_study(config)
    assert study.distances == [str(tmp_path / "mm.tsv")]
    assert set(study.distances) <= set(study.tables)  # whose checksums are kept
    assert open_study(SMALL).distances == []


def test_bootstraps_rerun_what_bootstraps(checkout):
    assert checkout.planned(changed(tests={"n_bootstrap": 1999})) == {
        "test_tracking",
        "test_coupling",
        "test_sensitivity",
        "judge",
        "draw_tracking",
        "draw_coupling",
        "record_provenance",
        *AFTER,
    }


def test_files_that_are_read_anew_are_recorded_anew(checkout):
    for reader in ("design_runs", "fit_subject", "read_subject"):
        planned = checkout.planned(SMALL, "--forcerun", reader)
        assert planned >= {reader, "join_regions", "record_provenance", *AFTER}


def test_a_file_that_is_newer_is_read_anew_even_with_the_same_bytes(checkout):
    """Of a person's images jobs name the first: another may have been made anew beside it."""
    first = checkout.folder / checkout.table("manifest")["image"].iloc[0]
    for path, readers in {
        first: ("read_subject", "average_images", "check_registration"),
        checkout.results() / "regions" / "rois.tsv": ("record_provenance",),
    }.items():
        before = path.stat()
        os.utime(path)
        planned = checkout.planned(SMALL)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert planned >= set(readers)
        assert checkout.planned(SMALL) == set()


def test_a_title_reruns_the_page_and_nothing_else(checkout):
    planned = checkout.planned(changed(title="Another title"))
    assert planned == {"record_provenance", *AFTER}


def test_an_edited_module_reruns_its_rules(checkout):
    module = checkout.folder / "workflow" / "handhold" / "specificity.py"
    kept = module.read_text(encoding="utf-8")
    module.write_text(kept + "\n# edited\n", encoding="utf-8")
    try:
        planned = checkout.planned(SMALL)
    finally:
        module.write_text(kept, encoding="utf-8")
    assert "test_specificity" in planned
    assert not planned & {
        "read_subject",
        "attenuate",
        "test_attenuation",
        "test_tracking",
    }


def test_the_same_seed_gives_the_same_bytes_on_one_core(checkout):
    tests = checkout.folder / "results" / "small" / "tests"
    before = {path.name: path.read_bytes() for path in tests.iterdir()}
    rules = (
        "test_attenuation",
        "test_tracking",
        "test_correspondence",
        "test_specificity",
        "test_partials",
        "test_joint",
    )
    done = checkout.snakemake(
        SMALL, "--cores", "1", "--forcerun", *rules, "--until", *rules
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert {path.name: path.read_bytes() for path in tests.iterdir()} == before
    # what is made from them has to be made again: times alone decide
    checkout.run(SMALL)


CALIBRATED = {
    "calibrate": {"n_replicates": 100, "n_replicates_power": 100, "n_subjects": [8]}
}


def test_a_calibration_waits_until_it_is_asked_for(checkout):
    changes = {**CALIBRATED["calibrate"], "map_dz": 0.5}
    planned = checkout.planned(changed(calibrate=changes))
    assert planned <= {"record_provenance", *AFTER}
    planned = checkout.planned(changed(calibrate={**changes, "in_report": True}))
    assert planned >= {"prepare_calibration", "repeat_study", "join_calibration"}
    assert planned >= {"draw_calibration", "write_report"}
    assert not planned & {"judge", "attenuate", "test_attenuation"}


@pytest.mark.slow
def test_a_study_is_calibrated_the_same_on_any_number_of_cores(checkout):
    config = changed(**CALIBRATED)
    checkout.run(config, "calibrate")
    results = checkout.results()
    before = (results / "calibration.tsv").read_bytes()
    rates = checkout.table("calibration")
    assert set(rates["world"]) == {*worlds.WORLDS}
    assert set(rates["question"]) == {"Q1", "Q2", "Q3", "Q4", "Q5"}
    assert set(rates["n_subjects"]) == {6, 8}
    assert set(rates["n_replicates"]) == {100}
    both = rates[(rates["test"] == "both nulls") & (rates["meaning"] == "error")]
    assert len(both) == 3
    # 100 cohorts at .05: more than 15 are seen once in 30,000 times
    assert (both["n_rejected"] <= 15).all()
    assert set(checkout.table("sample_size")["question"]) == set(rates["question"])
    assert (results / "figures" / "power.svg").stat().st_size > 1000
    again = ("--cores", "1", "--forcerun", "repeat_study", "--", "calibrate")
    done = checkout.snakemake(config, *again)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "calibration, batches [########################] 6 of 6" in done.stdout
    assert (results / "calibration.tsv").read_bytes() == before


@pytest.mark.parametrize(
    ("sections", "again", "kept"),
    [
        (
            {"glm": {"noise_model": "ols"}},
            {"fit_subject", "read_subject", "test_attenuation"},
            {"simulate_dataset", "simulate_subject", "design_runs", "define_regions"},
        ),
        (
            {"glm": {"high_pass_s": 100}},
            {"design_runs", "fit_subject", "read_subject", "test_attenuation"},
            {"simulate_dataset", "simulate_subject", "define_regions", "relieve"},
        ),
        (
            {"confounds": {"motion": "basic"}},
            {"design_runs", "fit_subject", "read_subject", "test_attenuation"},
            {"simulate_dataset", "simulate_subject", "define_regions", "relieve"},
        ),
        (
            {"regions": {"min_coverage": 0.5}},
            {"join_regions", "attenuate", "test_attenuation", "read_receptors"},
            {"simulate_subject", "design_runs", "fit_subject", "read_subject"},
        ),
        (
            {"regions": {"min_parcel_voxels": 3}},
            {"define_regions", "read_subject", "attenuate"},
            {"simulate_subject", "design_runs", "fit_subject", "relieve"},
        ),
    ],
)
def test_a_choice_reruns_what_depends_on_it(checkout, sections, again, kept):
    planned = checkout.planned(changed(**sections))
    assert again <= planned
    assert not planned & kept


MODELLED = {"table": "receptors.tsv", "target": "MOR_modelled"}
# What the study keeps, wherever its effects come from.
COMMON = {
    key: SMALL[key]
    for key in ("title", "seed", "contrasts", "regions", "tests", "nulls")
}
OF_PEOPLE = ("test_attenuation", "test_tracking")
SAME_TABLES = ("attenuation/rois.tsv", "tests/attenuation.tsv", "tests/tracking.tsv")


@pytest.fixture(scope="module")
def registry(checkout):
    """A registry of receptor maps that is a user's own."""
    header = (
        "receptor label unit file background negative checksum citation doi licence"
    )
    file = "results/small/simulated/receptor.nii.gz"
    row = f"MOR_modelled\tMOR\tBP\t{file}\t0\t\t\tnone\tnone\tnone"
    text = "\t".join(header.split()) + f"\n{row}\n"
    (checkout.folder / "receptors.tsv").write_text(text, encoding="utf-8")


def described() -> dict:
    """Return the sections that describe the dataset of the small study."""
    cohort = simulate.cohort_of(SMALL["simulate"], SMALL["seed"])
    return simulate_bids.describe(cohort, "results/small/simulated")


def as_bids(**bids) -> dict:
    """Return the small study's own dataset as anyone's, with some keys of `bids` changed."""
    sections = described()
    return {
        **COMMON,
        **sections,
        "study": "as_bids",
        "source": "bids",
        "bids": {**sections["bids"], **bids},
        "receptors": MODELLED,
    }


def assert_same_tables(checkout: Checkout, study: str) -> None:
    for name in SAME_TABLES:
        one, other = checkout.results(study) / name, checkout.results() / name
        assert one.read_bytes() == other.read_bytes(), name


@pytest.mark.slow
def test_the_effects_read_as_maps_give_the_same_tests(checkout, registry):
    manifest = checkout.table("manifest")
    manifest[["subject", "condition", "cue", "image", "variance_image"]].to_csv(
        checkout.folder / "images.tsv", sep="\t", index=False
    )
    config = {
        **COMMON,
        "study": "as_maps",
        "source": "maps",
        "unit": "% signal change",
        "maps": {
            "table": "images.tsv",
            "columns": {
                "subject": "subject",
                "image": "image",
                "condition": "condition",
                "cue": "cue",
                "variance": "variance_image",
            },
        },
        "ratings": described()["ratings"],
        "receptors": MODELLED,
    }
    checkout.run(config, "--until", *OF_PEOPLE)
    assert_same_tables(checkout, "as_maps")


@pytest.mark.slow
def test_the_dataset_read_as_bids_gives_the_same_tests(checkout, registry, monkeypatch):
    five = as_bids(participant_label=["01", "sub-02", "03", "04", "05"])
    checkout.run(five, "--until", "fit_subject")
    # the sixth person joins half of the others in a batch; nobody else is estimated again
    everyone = as_bids()
    monkeypatch.chdir(checkout.folder)
    monkeypatch.setattr(study, "BATCH", 4)
    batches = open_study(everyone).batches.values()
    joined = next(set(labels) for labels in batches if "06" in labels)
    assert 1 < len(joined) < 6
    planned = checkout.planned_people(everyone, "fit_subject")
    assert planned == joined
    checkout.run(everyone, "--until", *OF_PEOPLE)
    assert_same_tables(checkout, "as_bids")
    for image in sorted((checkout.results() / "effects").rglob("*.nii.gz")):
        same = checkout.results("as_bids") / image.relative_to(checkout.results())
        assert same.read_bytes() == image.read_bytes(), image.name


@pytest.fixture
def without_events(checkout):
    """The small study's dataset while one run of sub-06 has no events."""
    folder = checkout.results() / "simulated" / "sub-06" / "func"
    path = folder / "sub-06_task-handholding_run-2_events.tsv"
    path.rename(checkout.folder / path.name)
    yield path
    (checkout.folder / path.name).rename(path)


def test_an_incomplete_run_is_refused_or_counted(
    checkout, registry, without_events, monkeypatch
):
    monkeypatch.chdir(checkout.folder)
    with pytest.raises(StudyError, match="sub-06 run-2"):
        open_study(as_bids(incomplete_runs="refuse"))
    for policy, whats in {
        "drop_run": ["run", "subject"],
        "drop_subject": ["subject"],
    }.items():
        opened = open_study(as_bids(incomplete_runs=policy))
        assert opened.manifest.subjects == ["01", "02", "03", "04", "05"]
        assert set(opened.runs["subject"]) == {"01", "02", "03", "04", "05"}
        counted = opened.manifest.excluded
        assert set(counted["subject"]) == {"06"}
        assert sorted(counted["what"]) == whats
        assert counted["reason"].str.contains("events").any()


@pytest.mark.slow
def test_excluded_people_are_counted_in_the_results(checkout, registry, without_events):
    config = as_bids(incomplete_runs="drop_subject")
    checkout.run(config, "--until", "list_exclusions", "test_attenuation")
    counted = checkout.table("exclusions", "as_bids")
    counted = counted[counted["stage"] == "manifest"]
    assert counted["subject"].tolist() == ["06"]
    assert checkout.table("tests/attenuation", "as_bids")["n"].max() == 5


def test_a_misspelled_key_is_one_sentence_and_writes_nothing(checkout):
    done = checkout.snakemake(changed(study="other", sead=3), "--cores", "1")
    assert done.returncode != 0
    assert "sead is not a key; did you mean seed?" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (checkout.folder / "results" / "other").exists()


def test_a_simulated_study_may_leave_a_hand_out():
    """The cohort rates every hand; a contrast need not ask for each."""
    opened = open_study({**SMALL, "contrasts": SMALL["contrasts"][:1]})
    cohort = simulate.cohort_of(SMALL["simulate"], SMALL["seed"])
    told = simulate.simulate_ratings(cohort).pivot(
        index="participant_id", columns="condition", values="unpleasantness"
    )
    table = told.add_prefix("unpleasantness_").reset_index().astype(str)
    relief = relief_of(opened.config, table, opened.manifest)
    expected = (told["alone"] - told["partner"]).to_numpy()
    assert relief["relief"].to_numpy() == pytest.approx(expected)


@pytest.mark.slow
def test_ratings_of_trials_become_relief(checkout):
    """As many ratings as threat trials, averaged: the simulator knows their means."""
    config = changed(
        study="by_trial",
        simulate={"n_subjects": 3, "voxel_size_mm": 8, "ratings": "trial"},
    )
    checkout.run(config, "--until", "relieve")
    cohort = simulate.cohort_of(config["simulate"], config["seed"])
    told = simulate.simulate_ratings(cohort).pivot(
        index="participant_id", columns="condition", values="unpleasantness"
    )
    relief = checkout.table("relief", "by_trial")
    for contrast in ("partner", "stranger"):
        own = relief[relief["contrast"] == contrast]
        expected = told.loc["sub-" + own["subject"]]
        expected = expected["alone"] - expected[contrast]
        assert own["relief"].to_numpy() == pytest.approx(expected.to_numpy())
        assert (own["relief"].abs() > 1).any()


@pytest.mark.slow
def test_single_trials_are_followed_within_people(checkout):
    """From BOLD and events: a stronger trial is rated more unpleasant, as planted."""
    config = changed(
        study="trials",
        simulate={
            **SMALL["simulate"],
            **{"n_subjects": 8, "voxel_size_mm": 8, "ratings": "trial"},
            **{"trial_sd": 0.3, "trial_bond": 4.0, "protocol": {"n_trials": 8}},
        },
        glm={"single_trials": True},
        contrasts=SMALL["contrasts"][:1],
    )
    checkout.run(config, "--until", "test_within", "assess_reliability")
    cohort = simulate.cohort_of(config["simulate"], config["seed"])
    pieces = []
    for index, subject in enumerate(simulate.subjects(cohort.n_subjects)):
        own = checkout.table(f"trials/sub-{subject}_rois", "trials")
        own = own[(own["cue"] == "threat") & (own["condition"] != "stranger")]
        for run, block in own.groupby("run"):
            order = block["trial"].rank(method="dense").astype(int) - 1
            sizes = simulate.trial_sizes(cohort, index, int(run))
            pieces.append(block.assign(size=sizes[order], block=f"{subject} {run}"))
    trials = pd.concat(pieces)
    within = checkout.table("tests/within", "trials")
    within = within[within["role"] == "hypothesised"]
    assert len(within) == 4
    for row in within.itertuples():
        own = trials[trials["region"] == f"aal3/{row.region}"]
        own = own[~own["excluded"]].dropna(subset=["effect"])
        x, size = (
            own[name] - own.groupby("block")[name].transform("mean")
            for name in ("effect", "size")
        )
        assert np.corrcoef(x, size)[0, 1] > 0.7  # each trial is where it was planted
        # What estimates with noise leave of the bond, and four standard errors
        expected = 4.0 * (x @ size) / (x @ x)
        error = row.effect / row.statistic
        assert abs(row.effect - expected) < 4 * error < expected
        assert row.n == own["subject"].nunique()
    assert (within["p"] <= 0.05).all()
    mediation = checkout.table("tests/mediation", "trials")
    hypothesised = mediation[mediation["role"] == "hypothesised"]
    assert (hypothesised[["a", "b", "total"]] > 0).all(axis=None)
    told = simulate.simulate_ratings(cohort).pivot(
        index="participant_id", columns="condition", values="unpleasantness"
    )
    full = hypothesised[hypothesised["n"] == 8]
    # at equal time in the block, and the table of ratings is rounded to a tenth
    relief = (told["alone"] - told["partner"]).mean()
    assert full["total"].to_numpy() == pytest.approx(relief, abs=0.1 + 1e-6)
    reliability = checkout.table("reliability", "trials")
    assert set(reliability["basis"]) == {"trials"}
    assert set(reliability["n_repeats"]) == {2}


# Last, since the study is behind its files afterwards.


@pytest.mark.slow
def test_a_truncated_bold_is_named_and_leaves_no_half_image(checkout):
    folder = checkout.results() / "simulated" / simulate_bids.DERIVATIVES / "sub-05"
    bold = next(folder.rglob("*run-2*_desc-preproc_bold.nii.gz"))
    kept = bold.read_bytes()
    fit = ("--rerun-triggers", "mtime", "--until", "fit_subject")
    # as a file that somebody else has made, which the record does not know
    (checkout.results() / RECORD).unlink()
    bold.write_bytes(kept[: len(kept) // 2])
    try:
        done = checkout.snakemake(SMALL, "--cores", "1", *fit)
    finally:
        bold.write_bytes(kept)
    assert done.returncode != 0
    assert f"{bold.name}" in done.stdout
    assert "sub-05 run-2" in done.stdout
    assert "truncated" in done.stdout
    assert "Traceback" not in done.stdout
    stopped = re.search(r"^handhold: stopped after .+$", done.stdout, re.MULTILINE)[0]
    assert "results/small/logs/fit_subject/05.txt" in stopped
    assert not list((checkout.results() / "effects" / "sub-05").glob("*.nii.gz"))
    # put right, the run ends well
    checkout.run(SMALL, *fit)
    assert len(list((checkout.results() / "effects" / "sub-05").glob("*.nii.gz"))) == 13
