"""Datasets of OpenNeuro: listed, chosen from, and fetched into the folder where a study reads them.

Its buckets on S3 are public, and a listing (ListObjectsV2) is one GET with an answer in XML. Of
clients, boto3 brings 7 packages and s3fs 20. obstore 0.12 brings 2 and was tried: it takes a login
page for an empty folder, reads a listing that goes in a circle for ever, and follows no bucket to
its region; files would come by handhold.transfer all the same.

Beside the files, `.fetched/listing.json` keeps what there was to fetch, so that later runs,
without a network, know what is missing.
"""

import json
import re
import shutil
import threading
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_plus, urlsplit

from handhold.bids import choose_files, is_analysed
from handhold.errors import StudyError
from handhold.fetch import Item, address_faults, download, locked, writing
from handhold.io import read_json, reading, write_json
from handhold.transfer import (
    Manner,
    Progress,
    Remote,
    UnreachableError,
    read,
    require_network,
    require_room,
    say,
    size,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# A page lists a thousand keys of up to a kilobyte.
LARGEST_PAGE = 10_000_000
LARGEST_DESCRIPTION = 1_000_000
# Of the size of a file in bytes: an exabyte.
MOST_DIGITS = 18
# What a dataset says of itself and of its people, beside the folders of the people.
PARTS = ("sub-", "phenotype/")
LISTING = Path(".fetched", "listing.json")
# Faults that a message names one by one.
SHOWN = 10


class Entry(NamedTuple):
    """A file of a listing: path from the root of the tree, bytes, and the ETag."""

    path: str
    n_bytes: int
    etag: str


@dataclass(frozen=True)
class Tree:
    """A dataset, or derivatives of one, in a bucket, and the folder that it is fetched into.

    `bids` is the section of the configuration, which chooses the files; of a raw tree,
    `raw_images` chooses the images that fMRIPrep needs, and `version` is refused if it is not
    the one that the bucket serves.
    """

    address: str
    folder: Path
    bids: dict
    preprocessed: bool
    raw_images: bool = False
    version: str | None = None

    @property
    def bucket(self) -> str:
        """Address of the bucket (path style, as dots in its name need)."""
        parts = urlsplit(self.address)
        return (
            f"{parts.scheme}://{parts.netloc}/{parts.path.strip('/').partition('/')[0]}"
        )

    @property
    def prefix(self) -> str:
        """What the keys of the tree begin with."""
        return urlsplit(self.address).path.strip("/").partition("/")[2] + "/"

    def missing(self) -> list[str]:
        """List what has to be fetched, as far as it is known; a folder brought by hand is whole."""
        listing = self.listing()
        if listing is None:
            there = self.folder.is_dir() and any(self.folder.glob("sub-*"))
            return [] if there else [str(self.folder)]
        entries = [Entry(*row) for row in listing["files"]]
        return [str(self.folder / e.path) for e in self.absent(self.choose(entries))]

    def listing(self) -> dict | None:
        """Return what an earlier fetch found in the bucket; None where there was none.

        Raises
        ------
        StudyError
            If the folder holds another dataset.
        """
        path = self.folder / LISTING
        if not path.is_file():
            return None
        listing = read_json(path)
        with reading(path):
            address, _ = listing["address"], [Entry(*row) for row in listing["files"]]
        if address != self.address:
            raise StudyError(
                f"{self.folder} holds what was fetched from {listing['address']}, and the study "
                f"asks for {self.address} (bids.openneuro). Name another folder (bids.dataset, "
                "bids.derivatives), or remove this one."
            )
        return listing

    def choose(self, entries: list[Entry]) -> list[Entry]:
        """Choose the files that the configuration needs."""
        paths = [entry.path for entry in entries]
        chosen = set(choose_files(paths, self.bids, preprocessed=self.preprocessed))
        if self.raw_images:
            chosen |= {path for path in paths if _is_raw_image(path, self.bids)}
        return [entry for entry in entries if entry.path in chosen]

    def absent(self, entries: list[Entry]) -> list[Entry]:
        """Return the files that are not there in their size."""
        return [
            entry
            for entry in entries
            if _length(self.folder / entry.path) != entry.n_bytes
        ]


def fetch_tree(tree: Tree, manner: Manner) -> None:
    """Fetch the files of a tree that the configuration needs and that are not there yet.

    Raises
    ------
    StudyError
        If the network is forbidden; there is no such dataset, or another version of it; the
        listing holds paths that would leave the folder or fall together; it holds nothing that
        the configuration needs; the files are too large; or some could not be fetched, after the
        others were.
    """
    if tree.listing() is None and not tree.missing():
        say(f"{tree.folder} was not fetched by handhold, and is taken as it is")
        return
    require_network(manner, tree.address)
    _refuse(address_faults(tree.address), "bids.openneuro")
    with writing(tree.folder):
        tree.folder.mkdir(parents=True, exist_ok=True)
    with locked(tree.folder / LISTING.parent / "fetch", str(tree.folder)):
        entries = list_files(tree, manner)
        facts = describe(tree, entries, manner)
        chosen = tree.choose(entries)
        _require_chosen(tree, chosen, entries)
        _refuse_collisions(tree, chosen)
        absent = tree.absent(chosen)
        _refuse_changed(tree, set(chosen) - set(absent))
        _require_inside(tree, absent)
        total = sum(entry.n_bytes for entry in absent)
        say(f"{facts['what']}: licence: {facts['licence']}; cite: {facts['citation']}")
        say(f"{len(absent)} of {len(chosen)} files, {size(total)}, into {tree.folder}")
        require_room(total, tree.folder, f"What is missing of {tree.address}", manner)
        # before any file: from here on, what is missing is known
        known = {"address": tree.address, **facts, "files": entries}
        with writing(tree.folder / LISTING):
            write_json(known, tree.folder / LISTING)
        _fetch_all(tree, absent, total, manner)


def list_files(tree: Tree, manner: Manner) -> list[Entry]:
    """List the files at the root of a tree, of its people and of its phenotype tables.

    Raises
    ------
    StudyError
        If there are none; if the server's answer is no listing, or never ends; or if keys are no
        paths below the tree (absolute, with `..`, outside the prefix).
    """
    found = [*_pages(tree, tree.prefix, manner, delimiter="/")]
    for part in PARTS:
        found += _pages(tree, f"{tree.prefix}{part}", manner)
    faults = [
        f"{key!r}: {fault}"
        for key, _, _ in found
        if (fault := _path_fault(key, tree.prefix))
    ]
    _refuse(faults, f"{tree.address} lists keys that are no paths of a dataset")
    paths = [(key.removeprefix(tree.prefix), *facts) for key, *facts in found]
    # each once: a file sub-01.html at the root is found as a part, too
    entries = {
        path: Entry(path, *facts)
        for path, *facts in paths
        if not path.endswith("/")  # what stands for an empty folder
    }
    if not entries:
        raise StudyError(
            f"{tree.address} lists no file: there is no such dataset, or it is not public. Look "
            "at bids.openneuro."
        )
    return sorted(entries.values())


def describe(tree: Tree, entries: list[Entry], manner: Manner) -> dict[str, str]:
    """Return what a dataset says of itself: what, version, licence, citation.

    Raises
    ------
    StudyError
        If it has no dataset_description.json, or is not of the version that the study names.
    """
    name = "dataset_description.json"
    own = [entry for entry in entries if entry.path == name]
    if not own:
        raise StudyError(
            f"{tree.address} has no {name}: it is no BIDS dataset (bids.openneuro)."
        )
    body = read(_remote(tree, own[0]), manner, LARGEST_DESCRIPTION)
    told = _read_description(body, f"{tree.address}/{name}")
    doi = _line(told.get("DatasetDOI", ""))
    version = re.search(r"openneuro\.ds\d+\.v([\w.]+)", doi)
    found = version[1] if version else ""
    if tree.version and tree.version != found:
        raise StudyError(
            f"{tree.address} serves version {found or 'unknown'} (DatasetDOI in {name}: "
            f"{doi or 'none'}), and bids.openneuro.version asks for {tree.version}. The bucket "
            "holds the newest version only: name that, or clone the one you need "
            "(github.com/OpenNeuroDatasets, by DataLad) and remove bids.openneuro."
        )
    accession = tree.prefix.strip("/").rpartition("/")[2]
    authors = _line(told.get("Authors", ""))
    cited = [f"{authors + ': ' if authors else ''}{_line(told.get('Name', accession))}"]
    cited += [f"OpenNeuro {accession}" + (f", version {found}" if found else "")]
    cited += [text for text in (doi, _line(told.get("HowToAcknowledge", ""))) if text]
    return {
        "what": f"dataset {accession}",
        "version": found,
        "licence": _line(told.get("License", "")) or "not stated",
        "citation": "; ".join(cited),
    }


# --- Listings --------------------------------------------------------------------------------


def _pages(
    tree: Tree, prefix: str, manner: Manner, **query: str
) -> Iterator[tuple[str, int, str]]:
    """Yield key, bytes and ETag of a listing, page after page."""
    asked = {"list-type": "2", "prefix": prefix, "encoding-type": "url", **query}
    tokens: set[str] = set()
    while True:
        body = read(Remote(tree.bucket), manner, LARGEST_PAGE, **asked)
        page = _parse_page(body, tree.address)
        yield from _contents(page, tree.address)
        if page.findtext("IsTruncated") != "true":
            return
        token = page.findtext("NextContinuationToken") or ""
        if not token or token in tokens:
            raise StudyError(
                f"{tree.address}: the listing goes in a circle. Try again later."
            )
        tokens.add(token)
        asked["continuation-token"] = token


def _parse_page(body: bytes, address: str) -> "Element":
    from xml.etree import ElementTree

    try:
        if b"<!DOCTYPE" in body:  # no listing has one; entities could be defined there
            raise ElementTree.ParseError("it has a document type")
        page = ElementTree.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", body, count=1))
        if page.tag != "ListBucketResult":
            raise ElementTree.ParseError(f"it begins with {page.tag[:40]!r}")
    except ElementTree.ParseError as error:
        raise StudyError(
            f"{address} did not answer with a listing of files ({error}). A login page of this "
            "network is the usual cause; else look at bids.openneuro."
        ) from error
    return page


def _contents(page: "Element", address: str) -> Iterator[tuple[str, int, str]]:
    encoded = page.findtext("EncodingType") == "url"
    for item in page.iter("Contents"):
        key, length = item.findtext("Key") or "", item.findtext("Size") or ""
        if not (length.isdecimal() and len(length) <= MOST_DIGITS):
            raise StudyError(
                f"{address}: the listing gives {key!r} the size {length!r}."
            )
        etag = (item.findtext("ETag") or "").strip('"')
        yield (
            unquote_plus(key, errors="surrogateescape") if encoded else key,
            int(length),
            etag,
        )


def _path_fault(key: str, prefix: str) -> str | None:
    """Say why a key is no path below the tree."""
    path = key.removeprefix(prefix)
    names = path.rstrip("/").split("/")
    if not key.startswith(prefix):
        return f"outside {prefix}"
    if path.startswith("/") or any(name in ("", ".", "..") for name in names if path):
        return "leads out of the folder"
    if re.search(r"[\\:\x00-\x1f\x7f\ud800-\udfff]", path):
        return "has a character that no path of a dataset has"
    if any(len(name.encode()) > 255 for name in names):
        return "has a name of more than 255 bytes"
    return None


def _refuse_collisions(tree: Tree, entries: list[Entry]) -> None:
    """Refuse names that some file systems take for one: case, or two forms of a letter."""
    seen: dict[str, str] = {}
    faults = []
    for entry in entries:
        for path in accumulate(entry.path.split("/"), "{}/{}".format):
            folded = unicodedata.normalize("NFC", path).casefold()
            if seen.setdefault(folded, path) != path:
                faults.append(f"{seen[folded]!r} and {path!r}")
    _refuse(
        faults, f"{tree.address} lists names that fall together on some file systems"
    )


def _refuse_changed(tree: Tree, here: set[Entry]) -> None:
    """Refuse to put files of a new version beside files of an old one."""
    listing = tree.listing() or {"files": []}
    before = {entry.path: entry for entry in (Entry(*row) for row in listing["files"])}
    faults = [
        entry.path for entry in sorted(here) if before.get(entry.path, entry) != entry
    ]
    _refuse(
        faults,
        f"{len(faults)} files of {tree.address} have changed since they were fetched: remove "
        f"{tree.folder} to fetch all of the new version",
    )


def _require_inside(tree: Tree, entries: list[Entry]) -> None:
    """Refuse folders that a link leads out of the tree."""
    root = tree.folder.resolve()
    parents = {(tree.folder / entry.path).parent for entry in entries}
    faults = [
        f"{parent} is {parent.resolve()}"
        for parent in sorted(parents)
        if not parent.resolve().is_relative_to(root)
    ]
    _refuse(faults, f"links lead out of {tree.folder}, where files would be fetched to")


# --- Files -----------------------------------------------------------------------------------


def _fetch_all(tree: Tree, entries: list[Entry], total: int, manner: Manner) -> None:
    progress = Progress(tree.prefix.strip("/"), total)
    partial = tree.folder / LISTING.parent / "partial"
    lost = threading.Event()

    def fetch(entry: Entry) -> str | None:
        if lost.is_set():
            return f"{entry.path}: not tried"
        single = re.fullmatch(r"[0-9a-f]{32}", entry.etag)
        try:
            item = Item(
                Path(entry.path).name,
                _remote(tree, entry).url,
                checksum=f"md5:{entry.etag}" if single else None,
                n_bytes=entry.n_bytes,
            )
            download(item, tree.folder / entry.path, partial, manner, progress)
        except StudyError as error:
            if isinstance(error, UnreachableError):
                lost.set()
            return str(error)
        return None

    with ThreadPoolExecutor(manner.connections) as pool:
        try:
            faults = [fault for fault in pool.map(fetch, entries) if fault]
        except BaseException:
            # else the pool would wait until every file has come
            manner.stopping.set()
            raise
    # what says why before what was not tried because of it
    faults.sort(key=lambda fault: fault.endswith(": not tried"))
    say(progress.line())
    _refuse(
        faults,
        f"{len(faults)} of {len(entries)} files of {tree.address} were not fetched",
    )
    # begun once, of files that have changed since or are wanted no more
    shutil.rmtree(partial, ignore_errors=True)


def _remote(tree: Tree, entry: Entry) -> Remote:
    path = quote(f"{tree.prefix}{entry.path}", safe="/")
    return Remote(f"{tree.bucket}/{path}", n_bytes=entry.n_bytes)


def _is_raw_image(path: str, bids: dict) -> bool:
    """Tell what fMRIPrep reads of the people who are analysed: anatomy, BOLD, field maps."""
    *folders, name = path.split("/")
    person = folders[0].removeprefix("sub-") if len(folders) > 1 else ""
    if not path.startswith("sub-") or not is_analysed(person, bids):
        return False
    kind, task = folders[-1], f"_task-{bids['task']}_"
    suffix = name.partition(".")[0].rpartition("_")[2]
    return (
        (kind == "anat" and suffix in ("T1w", "T2w", "FLAIR"))
        or kind == "fmap"
        or (kind == "func" and task in name and suffix in ("bold", "sbref"))
    )


def _length(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _read_description(body: bytes, where: str) -> dict:
    try:
        told = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise StudyError(
            f"{where} is no JSON ({error}): the dataset cannot be known."
        ) from error
    return told if isinstance(told, dict) else {}


def _line(value: object) -> str:
    """Write what a description says, text or list, on one line."""
    parts = value if isinstance(value, list) else [value]
    return " ".join(", ".join(str(part).strip() for part in parts).split())


def _refuse(faults: list[str], what: str) -> None:
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults[:SHOWN])
        more = f"\n  - and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise StudyError(f"{what}:\n{listed}{more}")


def _require_chosen(tree: Tree, chosen: list[Entry], entries: list[Entry]) -> None:
    """Refuse a listing without anything to analyse, and say what it holds."""
    task = tree.bids["task"]
    kind = "_desc-preproc_bold.nii" if tree.preprocessed else "_events.tsv"
    if any(kind in entry.path for entry in chosen):
        return
    bold = [entry.path for entry in entries if kind in entry.path]
    found = {
        entity: sorted(
            {m[1] for path in bold if (m := re.search(rf"_{entity}-(\w+?)_", path))}
        )
        for entity in ("task", "space", "res")
    }
    held = "; ".join(
        f"{entity}: {', '.join(all_)}" for entity, all_ in found.items() if all_
    )
    raise StudyError(
        f"{tree.address} holds no {kind} that the section bids asks for (task {task}"
        + (f", space {tree.bids['space']}" if tree.preprocessed else "")
        + f"). It holds {len(bold)} such files{' (' + held + ')' if held else ''} among "
        f"{len(entries)}. Mend bids, or bids.openneuro.derivatives."
    )
