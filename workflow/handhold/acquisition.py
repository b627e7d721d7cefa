"""What a BIDS dataset says of its people, its scanner and its preprocessing, for the methods text.

Read where it is given, and nothing guessed: what is missing is the author's to add.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from handhold.io import MISSING

# Fields of the sidecars, in the order of a methods section: words and unit.
FIELDS = {
    "InstitutionName": ("institution", ""),
    "Manufacturer": ("manufacturer", ""),
    "ManufacturersModelName": ("scanner", ""),
    "MagneticFieldStrength": ("field strength", "T"),
    "ReceiveCoilName": ("receive coil", ""),
    "PulseSequenceType": ("pulse sequence", ""),
    "MRAcquisitionType": ("acquisition", ""),
    "RepetitionTime": ("repetition time", "s"),
    "EchoTime": ("echo time", "s"),
    "FlipAngle": ("flip angle", "degrees"),
    "SliceThickness": ("slice thickness", "mm"),
    "MultibandAccelerationFactor": ("multiband factor", ""),
    "ParallelReductionFactorInPlane": ("in-plane acceleration", ""),
    "PhaseEncodingDirection": ("phase encoding", ""),
    "TotalReadoutTime": ("total readout time", "s"),
    "NumberOfVolumesDiscardedByScanner": ("volumes discarded by the scanner", ""),
    "TaskDescription": ("task", ""),
    "Instructions": ("instructions", ""),
}
# Whole numbers beyond float, and texts beyond a paragraph, are written as text, shortened.
LARGEST, LONGEST = 10**300, 2000
# Entities that derivatives add to the name of a run.
OF_DERIVATIVES = {"space", "res", "desc", "den"}


def read_acquisition(
    dataset: str | Path, derivatives: str | Path, runs: pd.DataFrame
) -> dict:
    """Collect what a dataset and its derivatives say of how the data came about.

    Parameters
    ----------
    dataset, derivatives : path
        Folders of the raw dataset and of the preprocessed one.
    runs : DataFrame
        Columns subject, bold (path of the preprocessed series), sidecar (path or missing).

    Returns
    -------
    dict
        `dataset` and `derivatives`, what their dataset_description.json says; `scans`, of
        `FIELDS` those that a sidecar gives, each with its values over runs as text;
        `n_slice_timed`, the runs whose sidecar gives slice times; `people`, see `describe_people`.
    """
    dataset, derivatives = Path(dataset), Path(derivatives)
    merged = [_sidecar_of(dataset, row) for row in runs.to_dict("records")]
    scans = {}
    for field, (words, unit) in FIELDS.items():
        values = dict.fromkeys(_word(each[field]) for each in merged if field in each)
        if values:
            scans[words] = f"{', '.join(values)} {unit}".strip()
    return {
        "dataset": _read(dataset / "dataset_description.json"),
        "derivatives": _read(derivatives / "dataset_description.json"),
        "scans": scans,
        "n_slice_timed": sum("SliceTiming" in each for each in merged),
        "people": describe_people(dataset / "participants.tsv", runs["subject"]),
    }


def describe_people(path: Path, subjects: Iterable[str]) -> dict[str, str]:
    """Describe the people that were analysed by a dataset's participants.tsv.

    Returns
    -------
    dict
        `age` (mean, SD, range, n) and `sex` (counts), each only where the table has it.
    """
    try:
        table = pd.read_csv(
            path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError, RecursionError):  # as `_read`
        return {}
    if "participant_id" not in table:
        return {}
    labels = table["participant_id"].str.removeprefix("sub-")
    own = table[labels.isin(set(subjects))]
    own = own.mask(own.isin(MISSING))
    said = {}
    if "age" in own:
        age = pd.to_numeric(own["age"], errors="coerce").dropna()
        if len(age) > 1:
            said["age"] = (
                f"mean age {age.mean():.1f} years (SD {age.std():.1f}, range "
                f"{age.min():g} to {age.max():g}; known of {len(age)})"
            )
    for name in ("sex", "gender"):
        if name in own and own[name].notna().any() and "sex" not in said:
            counts = own[name].value_counts()
            said["sex"] = f"{name}: " + ", ".join(f"{n} {k}" for k, n in counts.items())
    return said


def _sidecar_of(dataset: Path, run: dict) -> dict:
    """Join the sidecars of a run by the inheritance principle: a nearer one overrides."""
    stem = Path(run["bold"]).name.split(".")[0]
    kept = [
        part for part in stem.split("_") if part.split("-")[0] not in OF_DERIVATIVES
    ]
    own = set(kept)
    merged: dict = {}
    if isinstance(run.get("sidecar"), str):
        merged |= _read(Path(run["sidecar"]))
    subject = dataset / kept[0]
    session = [subject / part for part in kept if part.startswith("ses-")]
    folders = [dataset, subject, *session, (session or [subject])[0] / "func"]
    for folder in folders:
        found = sorted(folder.glob("*_bold.json"), key=lambda path: len(path.name))
        for path in found:
            if set(path.name.removesuffix(".json").split("_")) <= own:
                merged |= _read(path)
    return merged


def _read(path: Path) -> dict:
    """Read a JSON object; nothing where there is none: this is told, not analysed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _word(value: object) -> str:
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST):
        return f"{value:g}"
    return " ".join(str(value).split())[:LONGEST]
