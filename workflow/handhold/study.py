"""A study as the workflow sees it: configuration, subjects, maps; walked once at parse time."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from handhold import atlases, ratings, simulate, sources, spec
from handhold.errors import StudyError
from handhold.io import COLUMNS, read_table

PACKAGE = Path(__file__).parent
SCRIPTS = PACKAGE.parent / "scripts"
RECEPTOR_COLUMNS = (
    "receptor",
    "label",
    "unit",
    "file",
    "background",
    "negative",
    "sha256",
    "citation",
    "doi",
    "licence",
)


@dataclass(frozen=True)
class Study:
    """One study.

    `resolved`, the configuration with every default filled in, which gives the same study again;
    `config`, the same with full paths (and the sections of a simulated study); `folder` of the
    results; `manifest` of the images; `receptors`, one row per map, the target first, column
    path added; `rated`, the contrasts that have ratings; `atlas_files`, what the regions are
    read from; `atlas_citations`, what the page says of them (what, citation, licence).
    """

    resolved: dict
    config: dict
    folder: str
    manifest: sources.Manifest
    receptors: pd.DataFrame
    rated: tuple[str, ...]
    atlas_files: list[str]
    atlas_citations: list[dict[str, str]]

    @property
    def labels(self) -> dict[str, str]:
        """File-safe label of each subject, by label; the subject by it."""
        return {
            sources.file_label(subject): subject for subject in self.manifest.subjects
        }

    def paths(self, subject: str) -> list[str]:
        """Every image file of a subject, the .hdr of an .img too."""
        rows = self.manifest.of(subject)
        files = [path for kind in sources.FILES for path in rows[kind].dropna()]
        headers = [
            str(Path(p).with_suffix(".hdr")) for p in files if p.endswith(".img")
        ]
        return files + headers

    @property
    def tables(self) -> list[str]:
        """Every table that the study is read from."""
        maps, rated = self.config["maps"], self.config.get("ratings", {})
        named = [table for table in (maps["table"], rated.get("table")) if table]
        return named + self.distances

    @property
    def distances(self) -> list[str]:
        """The table of distances between parcels, or nothing: straight lines then count."""
        given = self.config["nulls"].get("distances")
        return [str(Path(self.config["data_root"], given))] if given else []


def open_study(config: dict) -> Study:
    """Check a configuration and list what it analyses; no image is read.

    Raises
    ------
    StudyError
        If the configuration or a table has a fault, or a file does not exist.
    """
    resolved = spec.resolve(config)
    config = resolved
    folder = f"results/{config['study']}"
    if config["source"] == "simulated":
        config = {**config, **_simulated_sections(folder)}
        table = simulate.study_table(config["simulate"]["n_subjects"])
    else:
        config = {**config, **_rooted_sections(config)}
        table = read_table(config["maps"]["table"], "maps.table")
    manifest = sources.list_images(table, config["maps"], config["contrasts"])
    files, citations = _atlases(config)
    receptors = _receptors(config, folder)
    if config["source"] == "simulated":
        rated = tuple(contrast["name"] for contrast in config["contrasts"])
    else:
        sources.require_files(manifest.images)
        _require_maps(receptors)
        rated = _rated(config, manifest)
    study = Study(
        resolved, config, folder, manifest, receptors, rated, files, citations
    )
    for path in study.distances:
        read_table(path, "nulls.distances")
    return study


def relief_of(
    config: dict, table: pd.DataFrame, manifest: sources.Manifest
) -> pd.DataFrame:
    """Compute the relief of every subject of a study from its table of ratings."""
    return ratings.relieve(
        table,
        config["ratings"],
        config["contrasts"],
        manifest.subjects,
        excluded=manifest.excluded_subjects,
        rename=config["maps"]["rename"]["condition"],
    )


def code_of(rule: str) -> list[str]:
    """List what the script of a rule runs of this package, and the tables that it reads by itself.

    Rules name these as inputs: Snakemake sees an edited script, but no edited package.
    """
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
    """Return the modules of this package that a file imports, wherever in it."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named = {
        alias.name
        for node in imports
        if node.module == "handhold"
        for alias in node.names
    }
    parts = [(node.module or "").partition("handhold.") for node in imports]
    return frozenset(named | {name for before, _, name in parts if name and not before})


def _rated(config: dict, manifest: sources.Manifest) -> tuple[str, ...]:
    """List the contrasts that have ratings, having checked the ratings."""
    if "ratings" not in config:
        return ()
    table = read_table(config["ratings"]["table"], "ratings.table")
    return tuple(relief_of(config, table, manifest)["contrast"].unique())


def _rooted_sections(config: dict) -> dict:
    """Give the tables of maps and ratings their full path."""
    root = Path(config["data_root"])
    return {
        name: {**config[name], "table": str(root / config[name]["table"])}
        for name in ("maps", "ratings")
        if name in config
    }


def _simulated_sections(folder: str) -> dict:
    """Describe the simulated study as any other study of maps is described."""
    return {
        "unit": "% signal change",
        "maps": {
            "table": f"{folder}/simulated/images.tsv",
            "columns": {
                "subject": "participant_id",
                "image": "image",
                "condition": "condition",
                "cue": "cue",
            },
            "rename": {"condition": {}, "cue": {}},
            "include": {},
            "zero_is_missing": True,
        },
        "ratings": {
            "table": f"{folder}/simulated/ratings.tsv",
            "subject": "participant_id",
            "long": {"condition": "condition", "rating": "unpleasantness"},
            "higher_is": "more_unpleasant",
            "label": "relief (points of 0 to 100, simulated)",
        },
    }


def _atlases(config: dict) -> tuple[list[str], list[dict[str, str]]]:
    """Check the choice of regions; return the files and the citations of their atlases."""
    chosen = config["regions"]
    known = atlases.read_atlases(chosen["atlases"], config["data_root"])
    rows = atlases.read_definitions(chosen["rois"], chosen["definitions"])
    names = [name for name in rows["atlas"].unique() if name != "sphere"]
    names = list(dict.fromkeys([*names, chosen["parcels"]]))
    files = [str(file) for file in atlases.image_files(known, names)]
    missing = [file for file in files if not Path(file).is_file()]
    if missing:
        raise StudyError(
            f"{len(missing)} atlas files do not exist: {', '.join(missing)}. Paths start from "
            "data_root (regions.atlases says where each atlas comes from)."
        )
    if known[chosen["parcels"]].kind != "labels":
        raise StudyError(
            f"regions.parcels: the atlas {chosen['parcels']} is of the kind "
            f"{known[chosen['parcels']].kind}; parcels need a label image (kind labels)."
        )
    citations = [
        {
            "what": f"atlas {name} (space {known[name].space})",
            "citation": known[name].citation,
            "licence": known[name].licence,
        }
        for name in names
    ]
    return files, citations


def _receptors(config: dict, folder: str) -> pd.DataFrame:
    """Choose the target and the panel from the registry of receptor maps, target first."""
    chosen = config["receptors"]
    if config["source"] == "simulated":
        table = pd.DataFrame(simulate.RECEPTORS)
        root = Path(folder, "simulated")
    else:
        table = read_table(chosen["table"], "receptors.table").fillna("")
        root = Path(config["data_root"])
    for column in ("negative", "sha256", "doi"):
        if column not in table:
            table[column] = ""
    absent = [column for column in RECEPTOR_COLUMNS if column not in table]
    if absent:
        raise StudyError(
            f"{chosen['table']} (receptors.table) lacks {', '.join(absent)}."
        )
    names = [chosen["target"], *chosen["panel"]]
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
    rows = table.set_index("receptor").loc[names].reset_index()[list(RECEPTOR_COLUMNS)]
    return rows.assign(path=[str(root / file) for file in rows["file"]])


def _require_maps(receptors: pd.DataFrame) -> None:
    missing = [
        row.path for row in receptors.itertuples() if not Path(row.path).is_file()
    ]
    if missing:
        raise StudyError(
            f"{len(missing)} receptor maps do not exist: {', '.join(missing)}. Paths start from "
            "data_root; the registry (receptors.table) says where each map comes from."
        )
