"""The tables of atlases and maps: what their columns may hold, checked where a study reads them."""

import re
from pathlib import Path

import pandas as pd
import yaml

from handhold.errors import StudyError
from handhold.io import checksum, is_file
from handhold.spec import BRACES

SCHEMA = Path(__file__).parents[1] / "schemas" / "registries.yaml"
# Cells that a message lists one by one.
SHOWN = 10
# Which a registered checksum may be, as it begins: collections publish the one or the other.
CHECKSUMS = ("sha256", "md5")


def columns(registry: str) -> dict[str, dict]:
    """Return the columns of a registry (`receptors` or `atlases`) with their entries."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))[registry]


def require_valid(rows: pd.DataFrame, registry: str, where: str) -> None:
    """Refuse cells that do not say what their column is for.

    A table of one's own may lack columns that are not needed; what it has is read.

    Parameters
    ----------
    rows : DataFrame
        Text; blank or missing where nothing is known.
    registry : str
        `receptors` or `atlases`; the first column names the row.
    where : str
        Path and configuration key of the table, for the error.

    Raises
    ------
    StudyError
        With every such cell.
    """
    known = columns(registry)
    name = next(iter(known))
    faults = [
        f"{row[name]}: {column} is {row[column]!r}; {entry['description']}"
        for row in rows.fillna("").to_dict("records")
        for column, entry in known.items()
        if column in row and not _fits(row[column], entry)
    ]
    faults += [
        f"{row[name]}: {column} is {row[column]!r}, in which Snakemake would fill something in "
        "between braces"
        for row in rows.fillna("").to_dict("records")
        for column in known
        if BRACES & set(row.get(column, ""))
    ]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults[:SHOWN])
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise StudyError(
            f"{where}: {len(faults)} cells cannot be read:\n{listed}{more}\nMend them; n/a stands "
            "for what is not known."
        )


def require_registered(path: str | Path, registered: str, where: str) -> None:
    """Refuse another file than the one that a row describes.

    Parameters
    ----------
    path : path
        If nothing is there, whoever reads it says so.
    registered : str
        `sha256:...` or `md5:...`; empty where it is not known.
    where : str
        Row and configuration key of the table, for the error.

    Raises
    ------
    StudyError
        If the checksum differs, or is of another kind.
    """
    if not registered or not is_file(Path(path)):
        return
    algorithm, _, wanted = registered.partition(":")
    if algorithm not in CHECKSUMS:
        raise StudyError(
            f"{where}: the checksum {registered!r} does not begin with "
            f"{' or '.join(f'{name}:' for name in CHECKSUMS)} (column checksum)."
        )
    if checksum(path, algorithm) != wanted.lower():
        raise StudyError(
            f"{where}: {path} is not the registered file (its {algorithm} differs): it was cut or "
            "changed, or is another version, and what its row says (unit, labels, citation) may "
            "not be its own. Remove it and fetch the registered one, or give your file a row of "
            "its own."
        )


def _fits(cell: str, entry: dict) -> bool:
    if not cell:
        return not entry.get("needed", False)
    return re.fullmatch(entry.get("pattern", ".*"), cell) is not None
