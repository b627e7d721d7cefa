"""Tables and JSON at the edge: read as text, written whole or not at all.

pandas takes longer to load than some jobs take to work: those that only write files do
without it.
"""

import hashlib
import json
import os
import re
from contextlib import contextmanager, suppress
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np
import yaml

from handhold.errors import StudyError, in_words
from handhold.regions import Cloud

if TYPE_CHECKING:
    import pandas as pd

# Beside the results: what their jobs wrote (handhold.written).
RECORD = Path("provenance", "written.txt")
# The name of a file that `replacing` has not put into its place yet.
TEMPORARY = re.compile(r"\.\d+-.")
COLUMNS = Path(__file__).parents[1] / "schemas" / "columns.yaml"
# What tables of the field write where there is no value.
MISSING = frozenset({"", "n/a", "N/A", "na", "NA", "nan", "NaN", "None", "null"})
# Ten images of each of 100,000 people, 200 bytes a row.
LARGEST_TABLE = 200_000_000
# fMRIPrep writes some thousand columns of confounds; each takes a tenth of a millisecond.
MOST_COLUMNS = 20_000
# Bytes of a line of so many columns.
LONGEST_LINE = 2_000_000


def read_table(path: str | Path, key: str, *, with_nan: str = "") -> "pd.DataFrame":
    """Read a TSV or CSV table as text; blanks and n/a become missing.

    Parameters
    ----------
    path : path
        Ends in .tsv, .txt (tabs) or .csv (commas).
    key : str
        The configuration key that names the table, for the error.
    with_nan : str
        A column in which nan is a word of its own, and not missing.

    Raises
    ------
    StudyError
        If the file is missing, empty, not text in UTF-8, or has a column twice; if it is too
        large for a table, or a cell holds the end of a line.
    """
    import pandas as pd

    path = Path(path)
    if not is_file(path):
        raise StudyError(
            f"the table {path} does not exist ({key}). Paths start from data_root; "
            "give --config data_root=<folder> or mend the key."
        )
    separator = "," if path.suffix.lower() == ".csv" else "\t"
    try:
        require_small(path, f"the table {path} ({key})", separator)
        # lines that end in \r alone: behind a blank one, pandas loses a blank first cell
        text = path.read_text(encoding="utf-8-sig")
        # UTF-16 without its mark is valid UTF-8, in which every other character is null
        if "\0" in text:
            raise StudyError(
                f"the table {path} ({key}) is not UTF-8 text: it holds null characters, as UTF-16 "
                "does. Save it again as UTF-8."
            )
        lines = pd.read_csv(
            StringIO(text),
            sep=separator,
            header=None,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except StudyError:
        raise
    # UnicodeDecodeError, and what pandas says of parsing, are kinds of ValueError
    except (OSError, ValueError) as error:
        raise StudyError(
            f"the table {path} ({key}) cannot be read as "
            f"{'comma' if separator == ',' else 'tab'}-separated UTF-8 text: {error}. "
            "Save it again in that form."
        ) from error
    # a quote that nobody closed takes the rows that follow into its cell
    swallowed = lines.apply(
        lambda column: column.str.contains("[\n\r]", regex=True, na=False)
    )
    if separator == "\t" and swallowed.any(axis=None):
        first = swallowed.any(axis=1).idxmax() + 1
        raise StudyError(
            f"the table {path} ({key}) has cells that go over several lines, the first in row "
            f"{first}: a quotation mark that is not closed is the usual cause, and would take the "
            "rows below it away. Remove it, or double it."
        )
    # The suffix settles the separator, so that one column of a comma file read by tabs is a fault.
    header = [name.strip() or "without a name" for name in lines.iloc[0]]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise StudyError(
            f"the table {path} ({key}) has the column {', '.join(repeated)} more than once; "
            "which one is meant cannot be known. Rename or remove one."
        )
    if len(lines) == 1:
        raise StudyError(
            f"the table {path} ({key}) has a header and no rows. Fill it, or name another table."
        )
    table = lines.iloc[1:].set_axis(header, axis=1).reset_index(drop=True)
    table = table.apply(lambda column: column.str.strip())
    missing = table.isin(MISSING)
    if with_nan in table:
        missing[with_nan] &= table[with_nan].str.lower() != "nan"
    return table.mask(missing)


def is_file(path: Path) -> bool:
    """Tell whether a file is there; a path that no system can have names none."""
    try:
        return path.is_file()
    except OSError:
        return False


def require_small(path: Path, what: str, separator: str = "\t") -> None:
    """Refuse what is no table by its size alone, before it takes memory and minutes.

    `what` names the table and its place in the study, for the error.

    Raises
    ------
    StudyError
        With the size.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(LONGEST_LINE)
    line = (head.strip().splitlines() or [b""])[0]
    n_columns = line.count(separator.encode()) + 1
    if (
        size > LARGEST_TABLE
        or n_columns > MOST_COLUMNS
        or len(line) > LONGEST_LINE // 2
    ):
        raise StudyError(
            f"{what} has {size} bytes, and {n_columns} columns in the first "
            f"{min(len(line), LONGEST_LINE)} bytes of its first line; no more than {LARGEST_TABLE} "
            f"bytes or {MOST_COLUMNS} columns are read. Give a table of what the study uses."
        )


def read_distances(paths: list[str]) -> "pd.DataFrame | None":
    """Read the table of distances between parcels as text; None where the study gives none."""
    return read_table(paths[0], "nulls.distances") if paths else None


def read_results(path: str | Path) -> "pd.DataFrame":
    """Read a table that handhold wrote, with numbers as numbers and labels as text.

    Raises
    ------
    StudyError
        If it is damaged, as for the other files that handhold wrote.
    """
    import pandas as pd

    kinds = column_kinds()
    # numbers as such from the start: as text a table of 1,000 people takes gigabytes
    as_text = {name: str for name, kind in kinds.items() if kind["kind"] != "number"}
    with reading(path):
        table = _read_own(path, dtype=as_text, na_values=["n/a"])
        for name in table:
            if kinds[name]["kind"] == "number":
                table[name] = pd.to_numeric(table[name])
            elif kinds[name]["kind"] == "flag":
                table[name] = table[name] == "true"
    return table


def read_text(path: str | Path) -> "pd.DataFrame":
    """Read a table that handhold wrote as it stands, every cell as text."""
    with reading(path):
        return _read_own(path, dtype=str)


def write_results(table: "pd.DataFrame", path: str | Path) -> None:
    """Write a table as TSV, and beside it a JSON sidecar with the meaning of each column.

    Raises
    ------
    KeyError
        If workflow/schemas/columns.yaml does not say what a column means.
    """
    path = Path(path)
    kinds = column_kinds()
    meanings = {name: _meaning(kinds[name]) for name in table}
    text = table.copy()
    for name in table:
        if kinds[name]["kind"] == "flag":
            text[name] = table[name].map({True: "true", False: "false"})
        elif kinds[name]["kind"] == "text":
            # a tab or line end in a label would shift every column after it
            text[name] = table[name].astype(object).map(_one_line, na_action="ignore")
    with replacing(path) as temporary:
        text.to_csv(temporary, sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    write_json(meanings, path.with_suffix(".json"))


@cache
def column_kinds() -> dict[str, dict]:
    """Return meaning, unit and kind (number, text, flag) of every column, by name."""
    # Every table asks; libyaml takes a tenth of the time that Python's parser does.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(COLUMNS.read_text(encoding="utf-8"), Loader=loader)


def write_json(content: dict, path: str | Path) -> None:
    """Write JSON whole or not at all; numbers that are not finite become null."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
            + "\n",
            encoding="utf-8",
        )


def write_text(text: str, path: str | Path) -> None:
    """Write text whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_arrays(arrays: dict[str, np.ndarray], path: str | Path) -> None:
    """Write arrays by name, without pickles, the same bytes for the same arrays."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read arrays by name; raises as `reading`."""
    with opening_arrays(path) as arrays:
        return {name: arrays[name] for name in arrays}


@contextmanager
def opening_arrays(path: str | Path):
    """Open a file of arrays, to read some of them by name; raises as `reading`."""
    # numpy leaves a file open that turns out to be no archive
    with (
        reading(path),
        Path(path).open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        yield arrays


def write_cloud(cloud: Cloud, path: str | Path) -> None:
    """Write a cloud of regions."""
    write_arrays({**vars(cloud), "names": np.array(cloud.names)}, path)


def read_cloud(path: str | Path) -> Cloud:
    """Read a cloud of regions."""
    parts = read_arrays(path)
    with reading(path):
        return Cloud(**{**parts, "names": tuple(parts["names"].tolist())})


def read_json(path: str | Path) -> dict:
    """Read a JSON object, which handhold or another program wrote."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (ValueError, RecursionError) as error:
        way_out = remedy(path, "Mend it, or copy it again from its source.")
        raise StudyError(f"{path} is no JSON ({error}). {way_out}") from error
    return content


@contextmanager
def reading(path: str | Path):
    """Read a file that handhold wrote.

    Raises
    ------
    StudyError
        If it is there and cannot be read: somebody or something has changed it since.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, StudyError):
        raise
    # whatever a zip file, a header or a parser makes of bytes that are not theirs
    except Exception as error:
        way_out = remedy(path, "Delete it, and the same command makes it again.")
        raise StudyError(
            f"{path} is damaged ({error or type(error).__name__}): it is not as it was written. "
            f"{way_out}"
        ) from error


def remedy(path: str | Path, otherwise: str) -> str:
    """Say how a damaged file comes back; one of the record is made again by the next run.

    That run looks at the content of a file whose time has changed (`handhold.written`), so the
    file gets the time of now.
    """
    path = Path(path)
    for folder in path.parents:
        record = folder / RECORD
        if record.is_file():
            line = f"{path.relative_to(folder).as_posix()}\t".encode()
            with suppress(OSError):
                if line in record.read_bytes():
                    os.utime(path)
                    return "The same command makes it again."
    return otherwise


@contextmanager
def replacing(path: str | Path):
    """Give a temporary path that takes the place of `path` only if all went well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        # writing does not say of which file, and the temporary name says little
        if error.errno and error.filename in {None, str(temporary)}:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: str | Path) -> None:
    """Refuse a folder, or where it would be made, that takes no megabyte.

    Raises
    ------
    StudyError
        If the disk is full or read-only, or the permissions forbid it.
    """
    folder = Path(folder)
    place = next(own for own in (folder, *folder.parents) if own.is_dir())
    try:
        with TemporaryFile(dir=place) as file:
            file.write(bytes(1 << 20))
    except OSError as error:
        error.filename = str(place)
        raise StudyError(in_words(error) or str(error)) from error


def checksum(path: str | Path, algorithm: str = "sha256") -> str:
    """Return the checksum of a file, SHA-256 where nothing else is asked for."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _read_own(path: str | Path, **options) -> "pd.DataFrame":
    import pandas as pd

    _require_whole(path)
    return pd.read_csv(path, sep="\t", keep_default_na=False, **options)


def _require_whole(path: str | Path) -> None:
    """Refuse a table with a row that was cut short: pandas would fill it with missing values."""
    tabs = rows = 0
    end = b""
    with Path(path).open("rb") as file:
        per_row = file.readline().count(b"\t")
        file.seek(0)
        while block := file.read(1 << 20):
            tabs, rows, end = (
                tabs + block.count(b"\t"),
                rows + block.count(b"\n"),
                block[-1:],
            )
    if end != b"\n" or tabs != rows * per_row:
        raise ValueError("a row is cut short")


def _meaning(entry: dict) -> dict:
    return {
        "Description": entry["description"],
        **({"Units": entry["unit"]} if "unit" in entry else {}),
    }


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
