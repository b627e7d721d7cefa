"""A study as the workflow sees it: configuration, subjects, maps; walked once at parse time."""

import hashlib
import math
import re
import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pandas as pd

from handhold import (
    atlases,
    bids,
    derivatives,
    events,
    fmriprep,
    public,
    ratings,
    simulate,
    simulate_bids,
    sources,
    spec,
)
from handhold.errors import StudyError
from handhold.io import COLUMNS, checksum, is_file, read_table
from handhold.joint import MOST_MAPS
from handhold.registries import require_valid
from handhold.runs import name_run

PACKAGE = Path(__file__).parent
SCRIPTS = PACKAGE.parent / "scripts"
# A line that imports of this package: a module of it, or some, in brackets over several lines.
IMPORT = re.compile(
    r"^[ \t]*from handhold(?:\.(\w+))? import (?:\(([^)]*)\)|([^\n#]*))", re.MULTILINE
)
# Designs are made together, since the library that makes them takes three seconds to load; few
# at a time, so that a new subject does not have everyone estimated again.
BATCH = 8
FILLED_IN = {*"{}<>"}
# Paths that a message lists one by one.
SHOWN = 10
RUN_FILES = ("bold", "mask", "confounds", "events", "sidecar")
NO_RUNS = pd.DataFrame(columns=["subject", "session", "run", *RUN_FILES])
RECEPTOR_COLUMNS = (
    "receptor",
    "label",
    "unit",
    "file",
    "background",
    "negative",
    "kind",
    "checksum",
    "citation",
    "doi",
    "licence",
    "note",
)


@dataclass(frozen=True)
class Simulated:
    """What a simulated study writes: `shared` files, and those `of_subject` (wildcard label)."""

    folder: str
    shared: list[str]
    of_subject: list[str]


@dataclass(frozen=True)
class Source:
    """What one kind of source says of a study, before the sources become one line.

    `config` with full paths and every section that later rules read; `manifest` of the images;
    `runs` of BOLD (none where the images are given); `ratings`, the table of ratings as far as
    it exists yet; `simulated`, the files that have to be simulated first; `n_repeats`, the runs
    in which everyone has every cell.
    """

    config: dict
    manifest: sources.Manifest
    runs: pd.DataFrame
    ratings: pd.DataFrame | None
    simulated: Simulated | None = None
    n_repeats: int = 1


@dataclass(frozen=True)
class Study:
    """One study.

    `resolved`, the configuration with every default filled in, which gives the same study again;
    `config`, the same with full paths (and the sections that the source brings); `folder` of the
    results; `manifest` of the images; `runs` of BOLD; `simulated` files; `receptors`, one row per
    map, the target
    first, column path added; `rated`, the contrasts that have ratings; `atlas_files`, what the
    regions are read from; `atlas_citations`, what the page says of them (what, citation,
    licence, and name and doi for the methods text); `public`, what is taken from public
    sources; `n_repeats`, the runs in which everyone has every cell.
    """

    resolved: dict
    config: dict
    folder: str
    manifest: sources.Manifest
    runs: pd.DataFrame
    simulated: Simulated | None
    receptors: pd.DataFrame
    rated: tuple[str, ...]
    atlas_files: list[str]
    atlas_citations: list[dict[str, str]]
    public: public.Plan
    n_repeats: int = 1

    # Every job asks for these, so that each is worked out once: a study does not change.
    @cached_property
    def labels(self) -> dict[str, str]:
        """File-safe label of each subject, by label; the subject by it."""
        return {
            sources.file_label(subject): subject for subject in self.manifest.subjects
        }

    @property
    def cells(self) -> list[tuple[str, str]]:
        """Every (condition, cue) that the contrasts need; none for ready-made contrasts."""
        return sources.cells_of(self.config["contrasts"])

    @cached_property
    def batches(self) -> dict[str, list[str]]:
        """Labels of the subjects whose designs are made together, by the name of the batch.

        By a checksum of the label, and their number by powers of two: where a subject comes or
        goes, the others stay with theirs.
        """
        n_batches = 2 ** max(0, math.ceil(math.log2(len(self.labels) / BATCH)))
        batches: dict[str, list[str]] = {}
        for label in self.labels:
            batch = zlib.crc32(label.encode()) % n_batches
            batches.setdefault(f"{batch:04d}", []).append(label)
        return batches

    @property
    def dominance(self) -> list[str]:
        """The maps of the dominance analysis, the target first."""
        target, *panel = self.receptors["receptor"]
        chosen = self.config["receptors"].get("dominance", panel[: MOST_MAPS - 1])
        return [target, *chosen]

    @property
    def source(self) -> str:
        """The dataset, or the table of images, that the study is made from."""
        of_bids = self.config.get("bids", {}).get("dataset")
        return of_bids or self.config["maps"]["table"]

    @property
    def rated_by_trial(self) -> bool:
        """Whether the ratings stand in the events."""
        return "events" in self.config.get("ratings", {})

    @property
    def baselines_known(self) -> bool:
        """Whether response and score at baseline are known of the primary contrast.

        The response is of contrasts of cells, the score unless ratings are relief itself.
        """
        primary = self.config["contrasts"][0]
        of_score = "relief" not in self.config.get("ratings", {})
        return primary["name"] in self.rated and "baseline" in primary and of_score

    @property
    def basis(self) -> dict[str, str]:
        """What is repeated, so that its reliability can be known: by measure.

        Attenuation: runs where every cell has several, else the halves of single trials (of
        one occasion), else the images that are given. Relief: the same halves of ratings of
        trials, else what the table of ratings repeats.
        """
        halves = not self.runs.empty and self.config["glm"]["single_trials"]
        attenuation = "trials" if halves else "images"
        if self.n_repeats > 1:
            attenuation = "runs"
        rated = attenuation == "trials" and self.rated_by_trial
        return {"attenuation": attenuation, "relief": "trials" if rated else "ratings"}

    @property
    def no_trials(self) -> str:
        """Why trials cannot be followed within people, with the key to set; nothing if they can."""
        if self.runs.empty:
            return "the images hold no single trials (source maps)"
        if "rating" not in self.config["events"] or "ratings" not in self.config:
            key = "simulate.ratings: trial" if self.simulated else "events.rating"
            return f"no trial has a rating of its own ({key})"
        if not self.config["glm"]["single_trials"]:
            return "single trials were not estimated (glm.single_trials)"
        return ""

    @property
    def grid(self) -> str:
        """The image whose grid is the study's: there before any effect is estimated."""
        images = self.manifest.images["image"] if self.runs.empty else self.runs["mask"]
        return images.iloc[0]

    @cached_property
    def _rows(self) -> dict[str, list[tuple[int, dict]]]:
        """Place and row of each run, by subject: plain, since pandas takes 1 ms a subject."""
        rows: dict[str, list[tuple[int, dict]]] = {}
        for place, row in enumerate(self.runs.to_dict("records")):
            rows.setdefault(row["subject"], []).append((place, row))
        return rows

    @cached_property
    def _batch_of(self) -> dict[str, str]:
        """The batch of each label."""
        return {label: name for name, own in self.batches.items() for label in own}

    def runs_of(self, labels: list[str]) -> list[dict]:
        """Return the rows of `runs` of the subjects with these labels, in their order."""
        rows = [row for label in labels for row in self._rows[self.labels[label]]]
        return [row for _, row in sorted(rows, key=lambda placed: placed[0])]

    def batch_of(self, label: str) -> str:
        """Return the batch in which a subject's designs are made."""
        return self._batch_of[label]

    def files(self, labels: list[str], kinds: tuple[str, ...]) -> list[str]:
        """List the files of these kinds (columns of `runs`) of some subjects."""
        rows = self.runs_of(labels)
        found = [row[kind] for kind in kinds for row in rows]
        paths = list(dict.fromkeys(path for path in found if isinstance(path, str)))
        if "confounds" in kinds and "compcor" in self.config["confounds"]["strategy"]:
            # what a component was made from stands beside the table
            paths += [f"{Path(row['confounds']).with_suffix('.json')}" for row in rows]
        return paths

    def paths(self, subject: str) -> list[str]:
        """Every image file that a subject's region means are read from, the .hdr of an .img too."""
        return self._paths[subject]

    @cached_property
    def _paths(self) -> dict[str, list[str]]:
        images = self.manifest.images
        files: dict[str, list[str]] = {subject: [] for subject in images["subject"]}
        for kind in sources.FILES:
            for subject, path in zip(images["subject"], images[kind], strict=True):
                if isinstance(path, str):
                    files[subject].append(path)
        return {subject: _with_headers(own) for subject, own in files.items()}

    def awaited(self, subject: str) -> list[str]:
        """Return the image files that a job waits for: of a fit, which writes all at once, one.

        Snakemake looks each input of each job up, and everyone's images are inputs of three.
        """
        paths = self.paths(subject)
        return paths if self.runs.empty else paths[:1]

    @property
    def images(self) -> list[str]:
        """What a job waits for that reads everyone's images, subject by subject."""
        return [path for subject in self._paths for path in self.awaited(subject)]

    @property
    def given(self) -> list[str]:
        """Every file of a subject that handhold did not make."""
        if self.runs.empty:
            return self.images
        return self.files(list(self.labels), RUN_FILES)

    @property
    def tables(self) -> list[str]:
        """Every table that the study is read from."""
        maps, rated = self.config["maps"], self.config.get("ratings", {})
        tables = [
            maps.get("table"),
            None if self.rated_by_trial else rated.get("table"),
        ]
        return [table for table in tables if table] + self.distances

    @property
    def distances(self) -> list[str]:
        """The table of distances between parcels, or nothing: straight lines then count."""
        given = self.config["nulls"].get("distances")
        return [str(Path(self.config["data_root"], given))] if given else []


def _with_headers(files: list[str]) -> list[str]:
    """Put the .hdr of each .img behind the files, each file once."""
    headers = [str(Path(p).with_suffix(".hdr")) for p in files if p.endswith(".img")]
    return list(dict.fromkeys(files + headers))


def plan_preprocessing(config: dict) -> fmriprep.Plan | None:
    """Say who waits for fMRIPrep, as `fmriprep.plan`, once the raw dataset is here.

    Raises
    ------
    NotFetchedError
        If the raw dataset, or its images, have yet to be fetched.
    StudyError
        As `fmriprep.plan`.
    """
    if fmriprep.is_wanted(config):
        public.plan_datasets(spec.resolve(config)).require_fetched()
    planned = fmriprep.plan(config)
    if planned and not planned.n_people:
        # fetching has to stay possible, so that this is no fault of the configuration
        raise public.NotFetchedError(
            f"{planned.bids['dataset']} (bids.dataset) holds no BOLD image of the task "
            f"{planned.bids['task']} of those whom the study wants, so that fMRIPrep "
            "(fmriprep.run) has nothing to preprocess. Put the images there; those of an OpenNeuro "
            "dataset come with bids.openneuro.raw_images: true, where there is a network, by"
        )
    return planned


def open_study(config: dict) -> Study:
    """Check a configuration and list what it analyses; no image is read.

    Raises
    ------
    NotFetchedError
        If files have yet to be fetched.
    StudyError
        If the configuration or a table has a fault, or a file does not exist.
    """
    resolved = spec.resolve(config)
    folder = spec.results_folder(resolved)
    taken = public.plan(resolved)
    taken.require_fetched()
    source = _SOURCES[resolved["source"]](resolved, folder)
    files, citations = _atlases(resolved)
    receptors = _receptors(resolved, folder)
    if resolved["source"] == "simulated":
        rated = tuple(contrast["name"] for contrast in resolved["contrasts"])
    else:
        _require_maps(receptors)
        rated = _rated(source)
    study = Study(
        resolved,
        source.config,
        folder,
        _with_unscanned(source),
        source.runs,
        source.simulated,
        receptors,
        rated,
        files,
        citations,
        taken,
        source.n_repeats,
    )
    for path in study.distances:
        read_table(path, "nulls.distances")
    _require_plain(study)
    return study


def _require_plain(study: Study) -> None:
    """Refuse paths and labels in which Snakemake would fill something in: {wildcard}, <pathvar>."""
    section = study.resolved["regions"]
    paths = [str(PACKAGE), section["rois"], section["atlases"], *study.given]
    paths += [*study.tables, *study.atlas_files, *study.receptors["path"]]
    odd = [path for path in dict.fromkeys(paths) if FILLED_IN & set(path)]
    people = {*study.manifest.subjects, *study.manifest.excluded["subject"].dropna()}
    odd += [f"sub-{label}" for label in sorted(people) if spec.BRACES & set(label)]
    if odd:
        listed = "\n".join(f"  - {path}" for path in odd[:SHOWN])
        more = f"\n  - and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        raise StudyError(
            f"{len(odd)} paths or labels of the study hold a brace or an angle bracket, between "
            f"which Snakemake would fill something in:\n{listed}{more}\n"
            "Rename people, files or folders, or give symbolic links without them."
        )


def _open_maps(config: dict, folder: str) -> Source:
    """Read the table of images that someone estimated."""
    config = _rooted(config, "maps", "ratings")
    table = read_table(config["maps"]["table"], "maps.table")
    manifest = sources.list_images(table, config["maps"], config["contrasts"])
    sources.require_files(manifest.images)
    return Source(config, manifest, NO_RUNS, _ratings_table(config))


def _open_bids(config: dict, folder: str) -> Source:
    """Walk a BIDS dataset and its derivatives, and read the events of every run."""
    root = Path(config["data_root"])
    paths = {
        name: str(root / config["bids"][name]) for name in ("dataset", "derivatives")
    }
    config = {**config, "bids": {**bids.plain_labels(config["bids"]), **paths}}
    config |= _sections_of_bold(config["events"])
    index = bids.index_runs(config["bids"])
    trials = events.tidy_runs(read_runs(index.runs), config["events"])
    policy = config["bids"]["incomplete_runs"]
    runs, incomplete = events.complete_runs(
        trials.runs, index.runs, config["events"], config["contrasts"], policy
    )
    excluded = [index.excluded, incomplete, _not_analysed(trials, config["contrasts"])]
    manifest = sources.Manifest(_effects(config, folder, runs), _stack(excluded))
    kept = {key: trials.runs[key] for key in events.run_keys(runs)}
    n_repeats = events.count_repeats(kept, sources.cells_of(config["contrasts"]))
    if "events" in config.get("ratings", {}):
        means, _ = events.trial_ratings(kept, cue=rated_cue(config["ratings"]))
        given = means.assign(rating=means["rating"].map(str, na_action="ignore"))
        rated = _with_rated_trials(config, folder)
        return Source(rated, manifest, runs, given, n_repeats=n_repeats)
    config = _rooted(config, "ratings")
    given = _ratings_table(config)
    return Source(config, manifest, runs, given, n_repeats=n_repeats)


def read_runs(runs: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
    """Read the events of every run that has some, by (subject, session, run)."""
    return {
        key: bids.read_events(path, name_run(*key))
        for key, path in zip(events.run_keys(runs), runs["events"], strict=True)
        if isinstance(path, str)
    }


def rated_cue(rated: dict) -> str | None:
    """Return the cue whose ratings count, None for both; `rated` is the section ratings."""
    cue = rated["events"]["cue"]
    return None if cue == "both" else cue


def _with_rated_trials(config: dict, folder: str) -> dict:
    """Say that ratings of trials stand, once averaged, in a table of the results."""
    long = {"condition": "condition", "rating": "rating"}
    table = {
        "table": f"{folder}/ratings/conditions.tsv",
        "subject": "subject",
        "long": long,
    }
    return {**config, "ratings": {**config["ratings"], **table}}


def _not_analysed(trials: events.Trials, contrasts: list[dict]) -> pd.DataFrame:
    """Count the events that no cell of a contrast holds."""
    unused = events.unused_conditions(trials.runs, contrasts)
    rows = [
        ("events", n, f"trial type {name}: not modelled (events.ignore)")
        for name, n in trials.ignored.itertuples(index=False)
    ] + [
        ("events", n, f"condition {name}: modelled, but in no contrast")
        for name, n in unused.itertuples(index=False)
    ]
    return pd.DataFrame(rows, columns=["what", "n", "reason"]).assign(subject=None)


def _open_simulated(config: dict, folder: str) -> Source:
    """Describe the simulated dataset, before it is there, as any other dataset is described."""
    _require_simulated(config["contrasts"])
    cohort = simulate.cohort_of(config["simulate"], config["seed"])
    root = f"{folder}/simulated"
    config = {**config, **simulate_bids.describe(cohort, root)}
    config |= _sections_of_bold(config["events"])
    if cohort.ratings == "trial":
        config["ratings"]["events"] = {"cue": "threat"}
        config = _with_rated_trials(config, folder)
    else:
        asked = dict(sources.cells_of(config["contrasts"]))
        wide = config["ratings"]["wide"].items()
        config["ratings"]["wide"] = {name: own for name, own in wide if name in asked}
    runs = simulate_bids.runs_table(cohort, root)
    manifest = sources.Manifest(_effects(config, folder, runs), _stack([]))
    written = Simulated(
        root,
        [f"{root}/{name}" for name in simulate_bids.shared_files(cohort)],
        [f"{root}/{name}" for name in simulate_bids.subject_files(cohort, "{label}")],
    )
    return Source(config, manifest, runs, None, written)


_SOURCES = {"maps": _open_maps, "bids": _open_bids, "simulated": _open_simulated}


def _sections_of_bold(of_events: dict) -> dict:
    """Return what later rules ask of any source; our own images are NaN where not measured."""
    return {
        "unit": "% signal change",
        "maps": {
            "rename": {"condition": of_events["rename"]},
            "zero_is_missing": False,
        },
    }


def _require_simulated(contrasts: list[dict]) -> None:
    """Refuse contrasts of conditions that are not simulated, before anyone is."""
    faults = [
        f"{contrast['name']}: {contrast.get(side, 'none')} is no {side} condition; "
        f"{spec.advise(str(contrast.get(side)), list(simulate.CONDITIONS))}"
        for contrast in contrasts
        for side in ("baseline", "held")
        if contrast.get(side) not in simulate.CONDITIONS
    ]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"contrasts of a simulated study (alone, stranger, partner):\n{listed}"
        )


def _rooted(config: dict, *names: str) -> dict:
    """Give the tables of sections their full path."""
    root = Path(config["data_root"])
    rooted = {
        name: {**config[name], "table": str(root / config[name]["table"])}
        for name in names
        if name in config
    }
    return {**config, **rooted}


def _stack(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of exclusions below each other; pandas minds empty ones."""
    columns = ["subject", "what", "n", "reason"]
    filled = [table[columns].astype(object) for table in tables if len(table)]
    return (
        pd.concat(filled, ignore_index=True)
        if filled
        else pd.DataFrame(columns=columns)
    )


def _effects(config: dict, folder: str, runs: pd.DataFrame) -> pd.DataFrame:
    """List the effect images that the runs will become, as the manifest of a study of maps."""
    subjects = list(dict.fromkeys(runs["subject"]))
    labels = {sources.file_label(subject): subject for subject in subjects}
    cells = sources.cells_of(config["contrasts"])
    return derivatives.image_table(folder, labels, config["bids"], cells)


def relief_of(
    config: dict, table: pd.DataFrame, manifest: sources.Manifest
) -> pd.DataFrame:
    """Compute the relief of every subject of a study from its table of ratings."""
    return ratings.relieve(table, **_of_ratings(config, manifest))


def _of_ratings(config: dict, manifest: sources.Manifest) -> dict:
    """Return what a table of ratings is read with."""
    return {
        "ratings": config["ratings"],
        "contrasts": config["contrasts"],
        "subjects": manifest.subjects,
        "excluded": manifest.excluded_subjects,
        "rename": config["maps"]["rename"]["condition"],
        "source": "bids" if "bids" in config else "maps",
    }


def _with_unscanned(source: Source) -> sources.Manifest:
    """Count who was rated, but has no image, among the exclusions."""
    if source.ratings is None:
        return source.manifest
    unscanned = ratings.list_unscanned(
        source.ratings, **_of_ratings(source.config, source.manifest)
    )
    excluded = _stack([source.manifest.excluded, unscanned])
    return sources.Manifest(source.manifest.images, excluded)


def code_of(rule: str) -> str:
    """Return a checksum of what the script of a rule runs of this package, names and content.

    Rules have it among their parameters: Snakemake sees an edited script, but no edited package.
    As inputs of every job, the files took more than the rest of planning 1,000 people.
    """
    parts = [f"{Path(path).name} {_checksum(path)}" for path in list_code(rule)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def _checksum(path: str) -> str:
    return checksum(path)


def list_code(rule: str) -> list[str]:
    """List what the script of a rule runs of this package, and the tables that this reads."""
    found: set[str] = set()
    waiting = set(_imports(str(SCRIPTS / f"{rule}.py")))
    while waiting:
        found |= waiting
        paths = {str(PACKAGE / f"{name}.py") for name in waiting}
        waiting = {name for path in paths for name in _imports(path)} - found
    columns = [str(COLUMNS)] if "io" in found else []
    return sorted(str(PACKAGE / f"{name}.py") for name in found) + columns


@cache
def _imports(path: str) -> frozenset[str]:
    """Return the modules of this package that a file imports, wherever in it.

    By its lines: every Snakemake on a cluster's node asks, and a parser would take it a second.
    """
    found = IMPORT.findall(Path(path).read_text(encoding="utf-8"))
    modules = {module for module, _, _ in found if module}
    listed = ",".join(more or one for module, more, one in found if not module)
    names = {part.split()[0] for part in listed.split(",") if part.strip()}
    return frozenset(modules | names)


def _rated(source: Source) -> tuple[str, ...]:
    """List the contrasts that have ratings, having checked the ratings."""
    if source.ratings is None:
        return ()
    relief = relief_of(source.config, source.ratings, source.manifest)
    return tuple(relief["contrast"].unique())


def _ratings_table(config: dict) -> pd.DataFrame | None:
    if "ratings" not in config:
        return None
    return read_table(config["ratings"]["table"], "ratings.table")


def _atlases(config: dict) -> tuple[list[str], list[dict[str, str]]]:
    """Check the choice of regions; return the files and the citations of their atlases."""
    chosen = config["regions"]
    known = atlases.read_atlases(chosen["atlases"], config["data_root"])
    rows = atlases.read_definitions(chosen["rois"], chosen["definitions"])
    names = [name for name in rows["atlas"].unique() if name != "sphere"]
    names = list(dict.fromkeys([*names, chosen["parcels"]]))
    files = [str(file) for file in atlases.image_files(known, names)]
    missing = [
        f"{file} (atlas {name}, from: {known[name].source})"
        for name in names
        for file in atlases.image_files(known, [name])
        if not is_file(file)
    ]
    if missing:
        listed = "\n".join(f"  - {file}" for file in missing)
        raise StudyError(
            f"{len(missing)} atlas files do not exist:\n{listed}\nPaths start from data_root "
            "(regions.atlases)."
        )
    if known[chosen["parcels"]].kind != "labels":
        raise StudyError(
            f"regions.parcels: the atlas {chosen['parcels']} is of the kind "
            f"{known[chosen['parcels']].kind}; parcels need a label image (kind labels)."
        )
    if not known[chosen["parcels"]].structure_rule:
        raise StudyError(
            f"regions.parcels: the atlas {chosen['parcels']} does not say which labels are cortex "
            "and which subcortex (column structure_rule of regions.atlases), so that it serves for "
            f"ROIs only. Atlases for parcels: {', '.join(_of_parcels(known))}."
        )
    citations = [
        {
            "name": name,
            "what": f"atlas {name} (space {known[name].space})",
            "citation": known[name].citation,
            "doi": known[name].doi,
            "licence": known[name].licence,
        }
        for name in names
    ]
    return files, citations


def _of_parcels(known: dict[str, atlases.Atlas]) -> list[str]:
    return [
        name
        for name, atlas in known.items()
        if atlas.kind == "labels" and atlas.structure_rule
    ]


def _receptors(config: dict, folder: str) -> pd.DataFrame:
    """Choose the target and the panel from the registry of receptor maps, target first."""
    chosen = config["receptors"]
    if config["source"] == "simulated":
        table = pd.DataFrame(simulate_bids.RECEPTORS)
        root = Path(folder, "simulated")
    else:
        table = read_table(
            chosen["table"], "receptors.table", with_nan="background"
        ).fillna("")
        root = Path(config["data_root"])
    for column in ("negative", "kind", "checksum", "doi", "note"):
        if column not in table:
            table[column] = ""
    absent = [column for column in RECEPTOR_COLUMNS if column not in table]
    if absent:
        raise StudyError(
            f"{chosen['table']} (receptors.table) lacks {', '.join(absent)}."
        )
    names = [chosen["target"], *chosen["panel"]]
    absent = [n for n in chosen.get("dominance", []) if n not in chosen["panel"]]
    if absent:
        raise StudyError(
            f"receptors.dominance: {', '.join(absent)} is not in receptors.panel. Add it there, "
            "or take it out; the target is in by itself."
        )
    unknown = [name for name in names if name not in set(table["receptor"])]
    if unknown:
        raise StudyError(
            f"receptors: {', '.join(unknown)} has no row in the table of receptor maps; "
            f"known there: {', '.join(table['receptor'])}."
        )
    repeated = table.loc[table["receptor"].duplicated(), "receptor"]
    if len(repeated):
        raise StudyError(
            f"{chosen['table']} (receptors.table) repeats {', '.join(repeated)}."
        )
    rows = table.set_index("receptor").loc[names].reset_index()
    if config["source"] != "simulated":
        require_valid(rows, "receptors", f"{chosen['table']} (receptors.table)")
    rows = rows[list(RECEPTOR_COLUMNS)]
    return rows.assign(path=[str(root / file) for file in rows["file"]])


def _require_maps(receptors: pd.DataFrame) -> None:
    missing = [
        f"  - {row.path} ({row.receptor}; {row.citation}). {row.note}".rstrip(". ")
        for row in receptors.itertuples()
        if not is_file(Path(row.path))
    ]
    if missing:
        listed = "\n".join(missing)
        raise StudyError(
            f"{len(missing)} receptor maps do not exist, and have no address to be fetched "
            f"from:\n{listed}\nPaths start from data_root; the registry (receptors.table) says "
            "where each map comes from."
        )
