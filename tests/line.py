"""The whole line in one process: from a cohort to the tests of each question.

Calls what the scripts call, in their order and with a resolved configuration, without
Snakemake and its processes: seconds instead of a minute. A test can stop between the steps and
corrupt what the files of a user could have wrong.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from nilearn import datasets
from numpy.typing import NDArray

from handhold import (
    atlases,
    attenuation,
    coverage,
    derivatives,
    design,
    extract,
    firstlevel,
    parcels,
    ratings,
    simulate,
    simulate_bids,
    sources,
    spec,
    tracking,
    trials,
)
from handhold.io import read_table
from handhold.regions import Cloud, Weights, weigh

ROOT = Path(__file__).parents[1]
CHOICES = {
    "study": "line",
    "title": "The line",
    "source": "simulated",
    "seed": 1,
    "contrasts": [
        {"name": "partner", "baseline": "alone", "held": "partner"},
        {"name": "stranger", "baseline": "alone", "held": "stranger"},
    ],
    "receptors": {"target": "MOR_modelled"},
    "regions": {"min_parcel_voxels": 1},
    "tests": {"n_permutations": 999, "n_bootstrap": 999},
    "nulls": {"n": 999, "families": ["moran", "gaussian"]},
}
KEYS = {
    "rois": ["definition", "region", "hemisphere", "role"],
    "parcels": ["region", "structure"],
}


def resolve(**sections) -> dict:
    """Return the resolved configuration of a small study, some keys of its sections changed."""
    changed = {
        name: {**CHOICES.get(name, {}), **keys} if isinstance(keys, dict) else keys
        for name, keys in sections.items()
    }
    return deepcopy(_resolve_once(json.dumps({**CHOICES, **changed})))


@cache
def _resolve_once(config: str) -> dict:
    return spec.resolve(json.loads(config))


@dataclass(frozen=True)
class Regions:
    """What the rule define_regions makes."""

    clouds: dict[str, Cloud]
    definitions: pd.DataFrame


@cache
def define_regions(voxel_size_mm: int) -> Regions:
    """Define ROIs and parcels for a grid, once per session: it takes five seconds."""
    chosen = resolve()["regions"]
    known = atlases.read_atlases(ROOT / chosen["atlases"], ".")
    rows = atlases.read_definitions(ROOT / chosen["rois"], chosen["definitions"])
    clouds = atlases.roi_clouds(rows, known)
    placed, table = atlases.place_parcels(
        known[chosen["parcels"]],
        least_volume=chosen["min_parcel_voxels"] * voxel_size_mm**3,
        merge=chosen["tiny_parcels"] == "merge",
    )
    return Regions(
        {"rois": atlases.stack_rois(clouds), "parcels": placed},
        atlases.describe(rows, clouds, table),
    )


_LOADS = {
    f"load_mni152_{name}": getattr(datasets, f"load_mni152_{name}")
    for name in ("brain_mask", "gm_template", "wm_template")
}
_WEIGHTS: dict[tuple, tuple[Cloud, Weights]] = {}


def weigh_once(cloud: Cloud, affine: NDArray, shape: tuple[int, int, int]) -> Weights:
    """Weigh as `regions.weigh` does; a grid that was weighed before is not weighed again."""
    key = (id(cloud), affine.tobytes(), tuple(shape))
    if key not in _WEIGHTS:
        # with the cloud itself, or another one might get its id
        _WEIGHTS[key] = cloud, weigh(cloud, affine, shape)
    return _WEIGHTS[key][1]


@cache
def _load(name: str, resolution: int):
    return _LOADS[name](resolution=resolution)


@contextmanager
def remembering() -> Iterator[None]:
    """Ask pure functions once whose answers are the same for everyone on a grid.

    No job of the workflow could: each is a process.
    """
    with patch.object(extract, "weigh", weigh_once), ExitStack() as stack:
        for name in _LOADS:
            stack.enter_context(patch.object(datasets, name, partial(_load, name)))
        yield


@dataclass(frozen=True)
class Line:
    """A simulated dataset in a folder, and the configuration that it is analysed with."""

    cohort: simulate.Cohort
    folder: Path
    config: dict

    @classmethod
    def write(cls, cohort: simulate.Cohort, folder: Path, **sections) -> "Line":
        """Write the dataset of a cohort; `sections` change the configuration."""
        with remembering():
            simulate_bids.write_dataset(cohort, folder)
        return cls.of(cohort, folder, **sections)

    @classmethod
    def of(cls, cohort: simulate.Cohort, folder: Path, **sections) -> "Line":
        """Analyse a dataset that is there."""
        described = simulate_bids.describe(cohort, folder)
        renamed = sections.pop("events", {})
        config = {**resolve(**sections), "seed": cohort.seed, **described}
        config["events"] = {**config["events"], **renamed}
        rated, used = config["ratings"], sources.cells_of(config["contrasts"])
        if "wide" in rated:  # as who analyses fewer conditions than were rated has to
            wide = rated["wide"].items()
            rated["wide"] = {c: column for c, column in wide if c in dict(used)}
        return cls(cohort, Path(folder), config)

    @property
    def subjects(self) -> list[str]:
        return simulate.subjects(self.cohort.n_subjects)

    @property
    def regions(self) -> Regions:
        return define_regions(self.cohort.voxel_size_mm)

    @property
    def template(self) -> simulate.Template:
        return simulate_bids.read_template(self.folder)

    @property
    def cells(self) -> list[tuple[str, str]]:
        return sources.cells_of(self.config["contrasts"])

    def runs(self) -> pd.DataFrame:
        """Return the runs, measured."""
        runs = simulate_bids.runs_table(self.cohort, self.folder)
        return trials.measure_runs(runs, self.config["glm"])

    def trials(self, runs: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
        """Read the events."""
        choices = self.config["events"]
        return trials.read_trials(runs, choices, self.config["glm"]["min_onset_s"])

    def design(self, runs: pd.DataFrame, events: dict) -> dict:
        """Design every run, by subject and name; refuse what cannot be estimated."""
        glm, confounds = self.config["glm"], self.config["confounds"]
        designs, quality, regressors = design.design_subjects(
            runs, events, glm, confounds
        )
        design.require_estimable(quality, regressors, glm, confounds)
        return designs

    def fit(self, runs: pd.DataFrame, designs: dict) -> pd.DataFrame:
        """Fit everyone and write the images; return the manifest of these."""
        for subject in self.subjects:
            fit = firstlevel.fit_subject(
                runs[runs["subject"] == subject].to_dict("records"),
                designs[subject],
                self.cells,
                self.config["glm"],
            )
            names = derivatives.image_names(
                str(self.folder), subject, self.config["bids"], self.cells
            )
            firstlevel.write_fit(fit, names, self.config["glm"])
        return derivatives.image_table(
            str(self.folder),
            {subject: subject for subject in self.subjects},
            self.config["bids"],
            self.cells,
        )

    def read(self, manifest: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Average the images over ROIs and parcels, gated by coverage: join_regions."""
        with remembering():
            tables = [
                extract.extract(
                    manifest[manifest["subject"] == subject],
                    self.regions.clouds,
                    analyze_orientation=None,
                    zero_is_missing=False,
                )
                for subject in self.subjects
            ]
        return self.gate(
            {kind: pd.concat([each[kind] for each in tables]) for kind in KEYS}
        )

    def gate(self, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        """Name the regions as the definitions do, and mark what is covered too little."""
        defined, least = (
            self.regions.definitions,
            self.config["regions"]["min_coverage"],
        )
        rois = tables["rois"].reset_index(drop=True)
        names = rois.pop("region").str.split("/", n=1, expand=True)
        rois = rois.assign(definition=names[0], region=names[1]).merge(
            defined[["definition", "region", "hemisphere", "role"]],
            on=["definition", "region"],
        )
        placed = tables["parcels"].merge(
            defined[["region", "structure"]].dropna(), on="region"
        )
        return {
            "rois": coverage.gate(rois, least),
            "parcels": coverage.gate(placed, least),
        }

    def attenuate(self, cells: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        """Compute attenuation, of ROIs and of parcels."""
        return {
            kind: attenuation.attenuate(cells[kind], self.config["contrasts"], keys)
            for kind, keys in KEYS.items()
        }

    def relieve(self) -> pd.DataFrame:
        """Compute relief from the table of ratings."""
        chosen = self.config["ratings"]
        return ratings.relieve(
            read_table(chosen["table"], "ratings.table"),
            chosen,
            self.config["contrasts"],
            self.subjects,
            excluded=[],
            rename={},
            source="simulated",
        )

    def bind(self) -> dict[str, pd.DataFrame]:
        """Average the receptor map over ROIs and parcels."""
        maps = pd.DataFrame(simulate_bids.RECEPTORS[:1])
        maps = maps.assign(
            path=str(self.folder) + "/" + maps["file"], negative="", checksum=""
        )
        with remembering():
            return extract.extract_receptors(
                maps,
                self.regions.clouds,
                self.regions.definitions,
                self.config["regions"]["min_coverage"],
                self.config["receptors"]["low_coverage"],
            )

    def select(self, attenuated: pd.DataFrame, binding: pd.DataFrame) -> pd.DataFrame:
        """Choose the parcels of the correspondence."""
        defined = self.regions.definitions
        return parcels.select_parcels(
            attenuated,
            binding,
            defined[defined["kind"] == "parcel"],
            target="MOR_modelled",
            min_subjects=self.config["regions"]["min_subjects"],
            min_parcels=self.config["nulls"]["min_parcels"],
        )

    def assess(
        self, attenuated: dict[str, pd.DataFrame], binding: pd.DataFrame
    ) -> dict[str, pd.DataFrame]:
        """Test Q1 to Q4, each with the random numbers of its rule."""
        tests, verdicts = self.config["tests"], self.config["verdicts"]
        relief = self.relieve()
        chosen = self.select(attenuated["parcels"], binding)
        coupling = parcels.couple_subjects(
            attenuated["parcels"], chosen, method=self.config["nulls"]["method"]
        )
        correspondence, _ = parcels.assess_correspondence(
            attenuated["parcels"],
            chosen,
            tests=tests,
            nulls=self.config["nulls"],
            null_seed=self.config["seed"],
            rng=self._stream("test_correspondence"),
        )
        return {
            "Q1": attenuation.assess_attenuation(
                attenuated["rois"], tests, verdicts, self._stream("test_attenuation")
            ),
            "Q2": correspondence,
            "Q3": tracking.assess_tracking(
                attenuated["rois"],
                relief,
                tests,
                verdicts,
                self._stream("test_tracking"),
            ),
            "Q4": tracking.assess_coupling(
                coupling, relief, tests, verdicts, self._stream("test_coupling")
            ),
        }

    def _stream(self, rule: str) -> np.random.Generator:
        return spec.random_stream(self.config["seed"], rule)
