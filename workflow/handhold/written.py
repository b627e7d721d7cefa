"""The record of what a study's jobs have written, and whether it is still there as it was.

Snakemake looks at times, and takes a result that was cut short or altered for whole. So each file
is recorded with its checksum once its job has ended, and looked at when the next run starts.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from handhold.io import RECORD, TEMPORARY, checksum, write_text

HEADER = "path\tbytes\tmtime_ns\tsha256"
# How many changed files a message names.
NAMED = 5


@dataclass(frozen=True)
class Entry:
    """One file as it was written: its size, time of change and SHA-256."""

    n_bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Entry":
        """Describe a file that is there."""
        # The time before the content: what changes in between is hashed at the next look.
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, checksum(path))


class Written:
    """The record of the results of one study.

    Any process may look; only one that holds Snakemake's lock writes. Where the record cannot be
    written, the run goes on: a file without an entry is trusted as it stands.

    Parameters
    ----------
    folder : path
        The results of the study; paths in the record start there.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.path = self.folder / RECORD
        # Files whose time alone has changed, as they are now.
        self.moved: dict[str, Entry] = {}

    def look(self, *, verify: bool = False) -> dict[str, str]:
        """Return how each file differs that is not what was written, by its path.

        A file with the size and time of its entry is trusted, unless `verify` asks for its
        content too; any other is hashed, so that a copy with new times is the same file.
        """
        changed = {}
        for name, entry in self._read().items():
            path = f"{self.folder}/{name}"
            try:
                found = os.stat(path)  # noqa: PTH116  a tenth of the time, of 100,000 files
                same_time = found.st_mtime_ns == entry.mtime_ns
                if found.st_size != entry.n_bytes:
                    changed[path] = f"{found.st_size:,} of {entry.n_bytes:,} bytes"
                elif same_time and not verify:
                    continue
                elif checksum(path) != entry.sha256:
                    changed[path] = "other content"
                elif not same_time:
                    self.moved[name] = replace(entry, mtime_ns=found.st_mtime_ns)
            except FileNotFoundError:
                changed[path] = "missing"
            except OSError as error:
                changed[path] = error.strerror
        return changed

    def settle(self) -> None:
        """Put the record in order: one line per file, none cut short, with the times of now."""
        entries = self._read()
        for name, entry in self.moved.items():
            if name in entries and entries[name].sha256 == entry.sha256:
                entries[name] = entry
        if entries:
            lines = [HEADER, *(_line(*item) for item in entries.items()), ""]
            with suppress(OSError):
                write_text("\n".join(lines), self.path)

    def sweep(self) -> None:
        """Remove the temporary files of jobs that were killed; no job may be running."""
        for folder, _, names in os.walk(self.folder):
            for name in filter(TEMPORARY.match, names):
                with suppress(OSError):
                    Path(folder, name).unlink()

    def add(self, outputs: Iterable[str]) -> None:
        """Record the files that a job has written, and each file of a folder."""
        with suppress(OSError):
            lines = [
                _line(path.relative_to(self.folder).as_posix(), Entry.of(path)) + "\n"
                for path in _files(outputs)
                if path.is_relative_to(self.folder)
            ]
            if lines:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("".join(lines))

    def _read(self) -> dict[str, Entry]:
        """Read the last entry of each file; a line that a killed run left half is no entry."""
        if not self.path.is_file():
            return {}
        entries = {}
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            name, *rest = line.split("\t")
            if len(rest) == 3 and rest[0].isdigit() and len(rest[2]) == 64:
                entries[name] = Entry(int(rest[0]), int(rest[1]), rest[2])
        return entries


def made_by(changed: Iterable[str]) -> set[str]:
    """Return changed files and the folders that they lie in: one is the output of a job."""
    return {str(own) for path in changed for own in (path, *PurePath(path).parents)}


def tell_changed(changed: dict[str, str], outputs: Iterable[str]) -> str:
    r"""Name the changed files that jobs are about to make again; `outputs` are what those write.

    Examples
    --------
    >>> tell_changed({"out/a.tsv": "missing", "out/b.tsv": "3 of 40 bytes"}, ["out/a.tsv"])
    'handhold: 1 file is not what was written, and is made again: out/a.tsv (missing).\n'
    """
    made = set(outputs)
    again = [path for path in changed if not made.isdisjoint(made_by([path]))]
    if not again:
        return ""
    named = ", ".join(f"{path} ({changed[path]})" for path in again[:NAMED])
    if len(again) > NAMED:
        named += f" and {len(again) - NAMED:,} more"
    which = "1 file is" if len(again) == 1 else f"{len(again):,} files are"
    verb = "is" if len(again) == 1 else "are"
    return f"handhold: {which} not what was written, and {verb} made again: {named}.\n"


def _line(name: str, entry: Entry) -> str:
    return f"{name}\t{entry.n_bytes}\t{entry.mtime_ns}\t{entry.sha256}"


def _files(outputs: Iterable[str]) -> Iterator[Path]:
    for path in map(Path, outputs):
        if path.is_dir():
            # not the hidden: Snakemake keeps the time of a folder in one
            yield from (
                own
                for own in sorted(path.rglob("[!.]*"))
                if own.is_file() and not own.is_symlink()
            )
        else:
            yield path
