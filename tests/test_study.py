"""The simulated study through Snakemake: from nothing to the report, and what reruns when."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from handhold.errors import StudyError
from handhold.study import open_study

ROOT = Path(__file__).parents[1]
SMALL = {
    "study": "small",
    "title": "Small simulated study",
    "source": "simulated",
    "seed": 11,
    "simulate": {"n_subjects": 7, "voxel_size_mm": 6, "regional_sd": 0},
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


class Checkout:
    """A copy of the project in which a study can be run and a module be edited."""

    def __init__(self, folder: Path):
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in ("workflow", "atlases", "config"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "Snakefile", folder)
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

    def planned(self, config: dict) -> set[str]:
        """Return the rules that a dry run would execute."""
        done = self.snakemake(config, "--dry-run")
        assert done.returncode == 0, done.stdout
        found = re.findall(r"^(?:local)?rule (\w+):$", done.stdout, re.MULTILINE)
        return set(found) - {"all"}

    def table(self, name: str) -> pd.DataFrame:
        """Read a results table of the small study."""
        path = self.folder / "results" / "small" / f"{name}.tsv"
        return pd.read_csv(path, sep="\t", dtype={"subject": str}, na_values=["n/a"])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    made = Checkout(tmp_path_factory.mktemp("study with space and ü"))
    done = made.snakemake(SMALL, "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:]
    return made


def changed(**sections) -> dict:
    """Return the small study with some keys of its sections changed."""
    return {
        **SMALL,
        **{
            name: {**SMALL[name], **keys} if isinstance(keys, dict) else keys
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
        ),
        *("tests/specificity", "relief", "exclusions", "manifest", "provenance/inputs"),
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
    left = [path for path in results.rglob(".*") if path.is_file()]
    assert not left, "temporary files stayed behind"


def test_nothing_is_left_to_do_after_a_run(checkout):
    assert checkout.planned(SMALL) == set()


def test_every_subject_and_cell_arrives(checkout):
    rois = checkout.table("regions/rois")
    cells = rois.groupby(["subject", "definition", "region"]).size()
    assert set(cells) == {6}
    assert rois["subject"].nunique() == 7
    attenuation = checkout.table("attenuation/rois")
    assert len(attenuation) == len(cells) * 2


def test_planted_slopes_are_recovered_through_the_whole_line(checkout):
    """Each person's slope of attenuation on binding is gain x slope, as planted."""
    truth = json.loads(
        (checkout.folder / "results/small/simulated/truth.json").read_text(
            encoding="utf-8"
        )
    )
    attenuation = checkout.table("attenuation/parcels")
    wide = attenuation[attenuation["contrast"] == "partner"].pivot(
        index="subject", columns="region", values="attenuation"
    )
    binding = checkout.table("receptors/parcels")
    binding = binding[binding["receptor"] == "MOR_modelled"].set_index("region")[
        "binding"
    ]
    regions = wide.columns[wide.notna().all() & binding[wide.columns].notna()]
    x = binding[regions].to_numpy()
    slopes = np.polyfit(x, wide[regions].to_numpy().T, 1)[0]
    gain = pd.Series(truth["gain"]).rename(lambda label: label.removeprefix("sub-"))
    planted = truth["contrasts"]["partner"]["slope"] * gain[wide.index].to_numpy()
    error = slopes - planted
    # four standard errors of the mean error over people; the noise of people is independent
    assert abs(error.mean()) < 4 * error.std(ddof=1) / np.sqrt(len(error))
    assert error.std(ddof=1) < planted.std(ddof=1)
    assert np.corrcoef(slopes, planted)[0, 1] > 0


def test_a_null_seed_reruns_correspondence_and_report_only(checkout):
    assert checkout.planned(changed(nulls={"seed": 5})) == {
        "test_correspondence",
        "test_specificity",
        "judge",
        "draw_correspondence",
        "draw_specificity",
        "record_provenance",
        "write_report",
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
        "judge",
        "draw_tracking",
        "draw_coupling",
        "record_provenance",
        "write_report",
    }


def test_a_title_reruns_the_page_and_nothing_else(checkout):
    planned = checkout.planned(changed(title="Another title"))
    assert planned == {"record_provenance", "write_report"}


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
    )
    done = checkout.snakemake(
        SMALL, "--cores", "1", "--forcerun", *rules, "--until", *rules
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert {path.name: path.read_bytes() for path in tests.iterdir()} == before


def test_the_simulated_study_read_as_maps_gives_the_same_tests(checkout):
    simulated = "results/small/simulated"
    config = {
        **{
            key: SMALL[key]
            for key in ("title", "seed", "contrasts", "regions", "tests")
        },
        "study": "as_maps",
        "source": "maps",
        "unit": "% signal change",
        "maps": {
            "table": f"{simulated}/images.tsv",
            "columns": {
                "subject": "participant_id",
                "image": "image",
                "condition": "condition",
                "cue": "cue",
            },
        },
        "receptors": {"table": "receptors.tsv", "target": "MOR_modelled"},
    }
    header = "receptor label unit file background negative sha256 citation doi licence"
    row = f"MOR_modelled\tMOR\tBP\t{simulated}/receptor.nii.gz\t0\t\t\tnone\tnone\tnone"
    registry = "\t".join(header.split()) + f"\n{row}\n"
    (checkout.folder / "receptors.tsv").write_text(registry, encoding="utf-8")
    done = checkout.snakemake(config, "--cores", "2", "--until", "test_attenuation")
    assert done.returncode == 0, done.stdout[-3000:]
    results = checkout.folder / "results"
    for name in ("attenuation/rois.tsv", "tests/attenuation.tsv"):
        assert (results / "as_maps" / name).read_bytes() == (
            results / "small" / name
        ).read_bytes()


def test_a_misspelled_key_is_one_sentence_and_writes_nothing(checkout):
    done = checkout.snakemake(changed(study="other", sead=3), "--cores", "1")
    assert done.returncode != 0
    assert "sead is not a key; did you mean seed?" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (checkout.folder / "results" / "other").exists()


def test_a_truncated_image_is_named_and_leaves_no_half_table(checkout):
    image = checkout.folder / "results/small/simulated/images"
    image = next(image.glob("sub-03_*partner*threat*"))
    kept = image.read_bytes()
    tables = checkout.folder / "results/small/regions/subjects"
    image.write_bytes(kept[: len(kept) // 2])
    try:
        done = checkout.snakemake(
            SMALL,
            "--cores",
            "1",
            "--rerun-triggers",
            "mtime",
            "--until",
            "read_subject",
        )
    finally:
        image.write_bytes(kept)
    assert done.returncode != 0
    assert f"{image.name} is truncated or corrupt" in done.stdout
    assert "sub-03" in done.stdout
    assert "Copy it again from its source" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tables / "03_rois.tsv").exists()
    # put right, the run ends well
    done = checkout.snakemake(SMALL, "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:]
