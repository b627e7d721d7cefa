"""The record of what a study's jobs have written and read, and whether it is still the same.

Snakemake looks at times: it takes a result that was cut short or altered for whole, and an input
that was replaced by an older file for the one that was read. So each file is recorded once its job
has ended, and looked at when the next run starts.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from handhold.errors import StudyError
from handhold.io import RECORD, TEMPORARY, checksum, write_text

HEADER = "path\tbytes\tmtime_ns\tsha256, or the result that an input was read for"
SHA256 = re.compile("[0-9a-f]{64}")
# Some file systems keep times in steps of two seconds, so that a copy is off by as much.
COARSE_NS = 2 * 10**9
# How many files a message names.
NAMED = 5


@dataclass(frozen=True)
class Entry:
    """One file as it was: its size, time of change and SHA-256; of an input, what it was for."""

    n_bytes: int
    mtime_ns: int
    mark: str


# The entry of a folder that a job makes as a whole: what was in it before is gone.
ANEW = Entry(0, 0, "folder")


class Written:
    """The record of the results of one study.

    Any process may look; it is written by who holds Snakemake's lock of these results, or finds
    that nobody does. Where it cannot be, the run goes on: a file without an entry is trusted.

    Parameters
    ----------
    folder : path
        The results of the study; paths of results in the record start there.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.path = self.folder / RECORD
        # Results whose time alone has changed, as they are now.
        self.moved: dict[str, Entry] = {}

    def look(self, *, verify: bool = False) -> dict[str, str]:
        """Return why a result cannot be trusted, by its path.

        A result with the size and time of its entry is trusted, unless `verify` asks for its
        content too; any other is hashed, so that a copy with new times is the same file.
        """
        results, inputs = self._read()
        changed, times = {}, {}
        for name, entry in results.items():
            path = f"{self.folder}/{name}"
            try:
                found = os.stat(path)  # noqa: PTH116  a tenth of the time, of 100,000 files
                times[name] = found.st_mtime_ns
                same_time = found.st_mtime_ns == entry.mtime_ns
                if found.st_size != entry.n_bytes:
                    changed[path] = f"{found.st_size:,} of {entry.n_bytes:,} bytes"
                elif same_time and not verify:
                    continue
                elif checksum(path) != entry.mark:
                    changed[path] = "other content"
                elif not same_time:
                    self.moved[name] = replace(entry, mtime_ns=found.st_mtime_ns)
            except FileNotFoundError:
                changed[path] = "missing"
            except OSError as error:
                changed[path] = error.strerror
        for (path, name), entry in inputs.items():
            if name in times and _is_replaced(path, entry, times[name]):
                changed.setdefault(f"{self.folder}/{name}", f"{path} has been replaced")
        return changed

    def settle(self) -> None:
        """Put the record in order: one line per file, none cut short, with the times of now.

        A result of a time to come, after a clock was set back, gets the time of now: Snakemake
        would take whatever is made from it for older.
        """
        results, inputs = self._read()
        now = time.time_ns()
        for name, entry in self.moved.items():
            if name in results and results[name].mark == entry.mark:
                results[name] = entry
        for name, entry in results.items():
            if entry.mtime_ns > now:
                with suppress(OSError):
                    os.utime(self.folder / name, ns=(now, now))
                    results[name] = replace(entry, mtime_ns=now)
        if results:
            lines = [_line(*item) for item in results.items()]
            lines += [_line(path, entry) for (path, _), entry in inputs.items()]
            with suppress(OSError):
                write_text("\n".join([HEADER, *lines, ""]), self.path)

    def sweep(self) -> None:
        """Remove the temporary files of jobs that were killed; no job may be running."""
        for folder, _, names in os.walk(self.folder):
            for name in filter(TEMPORARY.match, names):
                with suppress(OSError):
                    Path(folder, name).unlink()

    def add(self, outputs: Iterable[str], inputs: Iterable[str] = ()) -> None:
        """Record what a job has written, each file of a folder too, and what it read for that.

        `inputs` are files that no job makes.
        """
        # a name that is no text cannot be written down
        with suppress(OSError, UnicodeError):
            own = [p for p in map(Path, outputs) if p.is_relative_to(self.folder)]
            made = list(_files(own))
            names = [path.relative_to(self.folder).as_posix() for path in made]
            # The time before the content: what changes in between is hashed the next time.
            found = [_entry(path) for path in made]
            lines = [
                _line(path.relative_to(self.folder).as_posix(), ANEW)
                for path in own
                if path.is_dir()
            ]
            lines += [
                _line(name, replace(entry, mark=checksum(path)))
                for name, entry, path in zip(names, found, made, strict=True)
            ]
            lines += [
                _line(path, replace(_entry(path), mark=names[0]))
                for path in inputs
                if names and not {"\t", "\n"} & set(path)
            ]
            if lines:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("".join(f"{line}\n" for line in lines))

    def _read(self) -> tuple[dict[str, Entry], dict[tuple[str, str], Entry]]:
        """Read the last entry of each result, and of each input of the job that last made it.

        A line that a killed run left half is no entry.
        """
        results: dict[str, Entry] = {}
        inputs: dict[str, dict[tuple[str, str], Entry]] = {}
        if self.path.is_file():
            text = self.path.read_text(encoding="utf-8", errors="replace")
            for line in text.split("\n"):
                name, *rest = line.split("\t")
                if len(rest) != 3 or not (rest[0].isdigit() and rest[1].isdigit()):
                    continue
                entry = Entry(int(rest[0]), int(rest[1]), rest[2])
                if entry == ANEW:
                    for own in [own for own in results if own.startswith(f"{name}/")]:
                        del results[own]
                        inputs.pop(own, None)
                elif SHA256.fullmatch(entry.mark):
                    results[name] = entry
                    inputs.pop(name, None)
                else:
                    inputs.setdefault(entry.mark, {})[name, entry.mark] = entry
        return results, {
            key: entry for own in inputs.values() for key, entry in own.items()
        }


def require_past(paths: Iterable[str]) -> None:
    """Refuse files of a time to come: Snakemake takes what is made from them for older.

    Raises
    ------
    StudyError
        If there are any.
    """
    latest, ahead = time.time_ns() + COARSE_NS, []
    for path in paths:
        with suppress(OSError):
            if os.stat(path).st_mtime_ns > latest:  # noqa: PTH116
                ahead.append(path)
    if ahead:
        when = time.strftime(
            "%Y-%m-%d %H:%M", time.localtime(Path(ahead[0]).stat().st_mtime)
        )
        raise StudyError(
            f"{len(ahead):,} of the files that are to be read have a time to come ({ahead[0]}: "
            f"{when}), so that what is made from them would look out of date at once. Set the "
            "clock right, of this machine or of the one that keeps the files, or give them the "
            "time of now (touch), or a copy of them."
        )


def made_by(changed: Iterable[str]) -> set[str]:
    """Return changed files and the folders that they lie in: one is the output of a job."""
    return {str(own) for path in changed for own in (path, *PurePath(path).parents)}


def tell_changed(
    changed: dict[str, str], outputs: Iterable[str], *, verified: bool = False
) -> str:
    r"""Name the changed results that jobs are about to make again; `outputs` are what those write.

    `verified`: every content was looked at, so that it is good news too if there are none.

    Examples
    --------
    >>> tell_changed({"out/a.tsv": "missing", "out/b.tsv": "3 of 40 bytes"}, ["out/a.tsv"])
    'handhold: 1 result is not as it was written, and is made again: out/a.tsv (missing).\n'
    """
    made = set(outputs)
    again = [path for path in changed if not made.isdisjoint(made_by([path]))]
    others = sorted(set(changed).difference(again)) if verified else []
    said = ""
    if again:
        one = len(again) == 1
        which = "result is not as it was" if one else "results are not as they were"
        verb = "is" if one else "are"
        said = f"{len(again):,} {which} written, and {verb} made again: {_named(again, changed)}"
    elif verified:
        said = "the results are as they were written"
    if others:
        said += f"; but for {len(others):,} that this run does not make: {_named(others, changed)}"
    return f"handhold: {said}.\n" if said else ""


def _named(paths: list[str], changed: dict[str, str]) -> str:
    more = f" and {len(paths) - NAMED:,} more" if len(paths) > NAMED else ""
    return ", ".join(f"{path} ({changed[path]})" for path in paths[:NAMED]) + more


def _is_replaced(path: str, entry: Entry, made_ns: int) -> bool:
    """Tell whether an input is another file, with a time before what was made from the former.

    A later one Snakemake finds itself; of a missing one it says so.
    """
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return False
    same_time = abs(found.st_mtime_ns - entry.mtime_ns) < COARSE_NS
    same = same_time and found.st_size == entry.n_bytes
    return not same and found.st_mtime_ns <= made_ns


def _entry(path: str | Path) -> Entry:
    found = Path(path).stat()
    return Entry(found.st_size, found.st_mtime_ns, "")


def _line(name: str, entry: Entry) -> str:
    return f"{name}\t{entry.n_bytes}\t{entry.mtime_ns}\t{entry.mark}"


def _files(outputs: Iterable[str]) -> Iterator[Path]:
    for path in map(Path, outputs):
        if path.is_dir():
            # not the hidden: Snakemake keeps the time of a folder in one
            yield from (own for own in sorted(path.rglob("[!.]*")) if own.is_file())
        else:
            yield path
