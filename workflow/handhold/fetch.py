"""Public files: fetched, verified and put in place whole, or not at all.

A file has its own name only once it is whole and verified; until then its bytes lie under another
in a folder `partial`, which a later fetch goes on from. nilearn's fetchers, tried, are asked for
addresses only (tests/test_registries.py compares): those of atlases give their downloader (see
handhold.transfer) no checksum and unpack archives whole; that of NeuroVault returns an empty list
where there is no network.
"""

import gzip
import hashlib
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urldefrag, urlsplit

from handhold.errors import StudyError
from handhold.images import require_whole
from handhold.io import MISSING, checksum, read_json, replacing, write_json
from handhold.transfer import Manner, Progress, Remote, forget, receive, say

IMAGES = (".nii", ".nii.gz")
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar")
# Longest suffix first, so that .nii.gz is not .gz.
SUFFIXES = (".nii.gz", ".tar.gz")
DIGESTS = {"md5": 32, "sha256": 64}
# What a web page begins with, where a file was asked for.
PAGE = re.compile(
    rb"^(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b",
    re.I | re.S,
)
TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.I | re.S)
# File systems take no longer name.
LONGEST_NAME = 255
# Seconds after which a job that waits for another says so, again and again.
PATIENCE_S = 20


@dataclass(frozen=True)
class Item:
    """One public file.

    `checksum` is `md5:...` or `sha256:...`; of a member of an archive (`url` ends in
    `#path/in/the/archive`) both it and `n_bytes` are the member's. `kind` is nifti, archive or
    table; without it, the name's suffix tells. The address may redirect to `allowed_hosts` beside
    its own host.
    """

    name: str
    url: str
    checksum: str | None = None
    n_bytes: int | None = None
    kind: str = ""
    licence: str = "not stated"
    citation: str = "not stated"
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuse what cannot be fetched safely, before anything is."""
        faults = [
            *_name_faults(self.name),
            *_checksum_faults(self.checksum),
            *address_faults(self.url, self.checksum),
        ]
        if faults:
            raise StudyError(f"{self.name!r} cannot be fetched: {'; '.join(faults)}.")
        if not self.kind:
            kinds = {"nifti": IMAGES, "archive": ARCHIVES}
            fitting = [kind for kind, ends in kinds.items() if self.name.endswith(ends)]
            object.__setattr__(self, "kind", fitting[0] if fitting else "table")

    @property
    def suffix(self) -> str:
        """Suffix of the name, by which readers tell formats."""
        double = [end for end in SUFFIXES if self.name.lower().endswith(end)]
        return double[0] if double else Path(self.name).suffix

    @property
    def key(self) -> str:
        """What tells this file's contents from others': its checksum, or its address."""
        if self.checksum:
            return self.checksum.lower().replace(":", "-")
        return f"url-{_hash(self.url)}"


def item_of(row: dict) -> Item:
    """Return the item of a registry's row: file, url, checksum, bytes, licence, citation.

    Raises
    ------
    StudyError
        If the address, checksum or size is not in its form.
    """
    given = {key: str(value) for key, value in row.items() if str(value) not in MISSING}
    size = given.get("bytes")
    if size is not None and not size.isdecimal():
        raise StudyError(
            f"{given['file']}: the size {size!r} (column bytes) is no whole number."
        )
    stated = {
        key: given[key] for key in ("checksum", "licence", "citation") if key in given
    }
    return Item(
        name=Path(given["file"]).name,
        url=given["url"],
        n_bytes=int(size) if size else None,
        **stated,
    )


def fetch_file(item: Item, cache: Path, *, manner: Manner) -> Path:
    """Return the path of a file in the cache, fetched if it is not there whole.

    Parameters
    ----------
    item : Item
    cache : path
        Folder that studies, jobs and users may share.
    manner : Manner

    Returns
    -------
    path
        A regular file that has just been verified against `item`.

    Raises
    ------
    StudyError
        If the file cannot be fetched or is not what `item` says; nothing is left then but what
        a later fetch can go on from.
    """
    folder = cache / "files" / item.key
    path, record = folder / item.name, folder / "record.json"
    # before the lock: whoever may only read the cache can use it
    if _is_whole(path, record, item):
        return path
    with locked(cache / "locks" / item.key, item.name):
        if _is_whole(path, record, item):
            return path
        if path.exists():
            say(f"{path} is not what was fetched; it is fetched again")
        if urldefrag(item.url).fragment:
            _extract(item, path, cache, manner)
        else:
            download(item, path, cache / "partial", manner)
        with writing(record):
            write_json({"url": item.url, "sha256": checksum(path)}, record)
    return path


def download(
    item: Item,
    target: Path,
    partial: Path,
    manner: Manner,
    progress: Progress | None = None,
) -> None:
    """Bring a file to `target`, whole and verified; errors as `fetch_file`.

    `partial` is a folder on the same file system, where the bytes wait until they are verified.
    """
    own = progress or Progress(item.name, item.n_bytes)
    part = _part(item, partial)
    gzipped = item.suffix.endswith("gz")
    checked = item.checksum is not None
    remote = Remote(item.url, item.allowed_hosts, item.n_bytes, gzipped, checked)
    while True:
        resumed = part.is_file()
        receive(remote, part, manner, own)
        try:
            verify(part, item)
            break
        except StudyError:
            forget(part)
            if not resumed:
                raise
            say(f"{item.name}: the pieces of two fetches do not fit; begun anew")
    _move(part, target)
    if progress is None:
        say(own.line())


def verify(path: Path, item: Item) -> None:
    """Refuse a file that is not what it should be.

    Raises
    ------
    StudyError
        If size or checksum differ; it is a web page; or a NIfTI file's header, length or
        compression is not whole.
    """
    _refuse_page(path, item)
    if fault := difference(path, item):
        raise StudyError(
            f"{item.url} gave a file {fault}: it was changed at its source or on the way. It was "
            "not kept. If the source has a new version, look at what changed, then correct the "
            "registry's row."
        )
    if item.kind == "nifti":
        require_whole(path, item.url)
    elif item.kind == "archive":
        _require_archive(path, item)


def difference(path: Path, item: Item) -> str | None:
    """Say in which size or checksum a file is not the registered one."""
    size = path.stat().st_size
    if item.n_bytes not in (None, size):
        return f"{size} bytes, not the {item.n_bytes} registered"
    if item.checksum:
        algorithm, _, wanted = item.checksum.partition(":")
        found = checksum(path, algorithm)
        if found != wanted.lower():
            return f"whose {algorithm} is {found}, not {wanted}"
    return None


def place(source: Path, target: Path) -> None:
    """Copy a file from the cache to where a study reads it, whole or not at all."""
    with writing(target), replacing(target) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in a sentence that a path cannot be written.

    Raises
    ------
    StudyError
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StudyError(
            f"{path} cannot be written ({error.strerror}). Make room or allow writing there, or "
            "name another folder (data_root; fetch.cache for what is kept between studies)."
        ) from error


@contextmanager
def locked(name: Path, what: str) -> Iterator[None]:
    """Hold a lock that jobs of any machine on this file system respect, and the kernel frees."""
    from filelock import FileLock, Timeout

    with writing(name):
        name.parent.mkdir(parents=True, exist_ok=True)
    # whoever shares the folder may hold it, whatever this user's umask
    lock = FileLock(f"{name}.lock", mode=0o666)
    while True:
        try:
            lock.acquire(timeout=PATIENCE_S)
            break
        except Timeout:
            say(f"{what}: another job is fetching it; waiting")
        except OSError as error:
            with writing(name):
                raise error
    try:
        yield
    finally:
        lock.release()


def cache_folder(section: dict) -> Path:
    """Return the cache: fetch.cache, the environment's HANDHOLD_CACHE, or the user's own."""
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "handhold")
    given = section.get("cache") or os.environ.get("HANDHOLD_CACHE")
    return Path(given).expanduser() if given else own


def manner_of(section: dict, command: str) -> Manner:
    """Return how to fetch from the section fetch of the configuration."""
    return Manner(
        offline=section["offline"],
        retries=section["retries"],
        timeout_s=section["timeout_s"],
        max_bytes=int(section["max_download_gb"] * 1e9),
        connections=section["connections"],
        command=command,
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _part(item: Item, partial: Path) -> Path:
    """Return where the bytes of an item wait; whoever has the same place has the same lock."""
    with writing(partial):
        partial.mkdir(parents=True, exist_ok=True)
    return partial / f"{_hash(f'{item.key} {item.url}')}{item.suffix}"


def _move(part: Path, target: Path) -> None:
    """Give a verified file its name."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("rb") as file:
            # a name on bytes that a power cut takes would look whole
            os.fsync(file.fileno())
        part.replace(target)
    forget(part)


def _is_whole(path: Path, record: Path, item: Item) -> bool:
    """Tell whether a file of the cache is there and still what was fetched."""
    if path.is_symlink() or not path.is_file():
        return False
    if item.checksum:
        algorithm, _, wanted = item.checksum.partition(":")
    else:
        try:
            algorithm, wanted = "sha256", read_json(record)["sha256"]
        except (OSError, ValueError, KeyError):
            return False
    return checksum(path, algorithm) == wanted.lower()


def _refuse_page(path: Path, item: Item) -> None:
    with path.open("rb") as file:
        head = file.read(4096)
    if PAGE.match(head) and not item.name.endswith((".html", ".htm")):
        title = TITLE.search(head)
        named = (
            " ".join(title[1].decode(errors="replace").split()) if title else "no title"
        )
        raise StudyError(
            f"{item.url} gave a web page ({named[:80]!r}) instead of {item.name}. The address asks "
            "for a login or has moved, or this network shows its own page first: open it in a "
            "browser, then correct the registry's row or put the file in place by hand."
        )


# --- Archives --------------------------------------------------------------------------------


def _extract(item: Item, target: Path, cache: Path, manner: Manner) -> None:
    """Take one member, named exactly, out of an archive; no path of the archive is followed.

    Archives that were made of a folder `.` begin every name with `./`.
    """
    url, member = urldefrag(item.url)
    name = Path(urlsplit(url).path).name
    archive = Item(name, url, kind="archive", allowed_hosts=item.allowed_hosts)
    whole = fetch_file(archive, cache, manner=manner)
    part = _part(item, cache / "partial")
    try:
        with (
            _member(whole, unquote(member), archive) as source,
            writing(part),
            part.open("wb") as file,
        ):
            _copy(source, file, manner.max_bytes, item)
        verify(part, item)
        _move(part, target)
    finally:
        forget(part)


@contextmanager
def _member(path: Path, member: str, archive: Item) -> Iterator[BinaryIO]:
    if zipfile.is_zipfile(path):
        with (
            zipfile.ZipFile(path) as opened,
            opened.open(_find(member, opened.namelist(), archive)) as source,
        ):
            yield source
    else:
        with tarfile.open(path) as opened:
            files = {entry.name: entry for entry in opened if entry.isfile()}
            yield opened.extractfile(files[_find(member, list(files), archive)])


def _find(member: str, names: list[str], archive: Item) -> str:
    found = [name for name in names if name.removeprefix("./") == member]
    if len(found) != 1:
        raise StudyError(
            f"{archive.url} holds {len(found)} files {member!r} among {len(names)}. "
            "Correct what stands behind # in the registry's url."
        )
    return found[0]


def _copy(source: BinaryIO, target: BinaryIO, most: int, item: Item) -> None:
    """Copy at most as much as the item has, or as may be fetched: an archive can hold a bomb."""
    left = most if item.n_bytes is None else item.n_bytes
    while chunk := source.read(1 << 20):
        left -= len(chunk)
        if left < 0:
            raise StudyError(
                f"{item.url} unpacks to more than the file should have. Not kept."
            )
        target.write(chunk)


def _require_archive(path: Path, item: Item) -> None:
    """Refuse what cannot be unpacked to its end: an archive is taken without a checksum."""
    try:
        fault = _archive_fault(path)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, OSError, EOFError) as e:
        fault = str(e)
    if fault:
        raise StudyError(
            f"{item.url} gave no whole archive (zip or tar; {fault}). It was not kept. Try again; "
            "if it stays so, look at the address in the registry's row."
        )


def _archive_fault(path: Path) -> str | None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as opened:
            corrupt = opened.testzip()
        return f"its member {corrupt!r} is corrupt" if corrupt else None
    with tarfile.open(path) as opened:
        opened.getmembers()
        packed = opened.fileobj
        while isinstance(packed, gzip.GzipFile) and packed.read(1 << 20):
            pass  # to the end, where its checksum is
    return None


# --- What an item may be ---------------------------------------------------------------------


def _name_faults(name: str) -> list[str]:
    if not name or name in (".", "..") or re.search(r"[/\\\x00-\x1f]", name):
        return ["it is no name of a file"]
    long = len(name.encode()) > LONGEST_NAME
    return [f"its name has more than {LONGEST_NAME} bytes"] if long else []


def _checksum_faults(checksum: str | None) -> list[str]:
    algorithm, _, value = (checksum or "").partition(":")
    if checksum is None or (
        len(value) == DIGESTS.get(algorithm) and re.fullmatch(r"[0-9a-fA-F]+", value)
    ):
        return []
    return [f"the checksum {checksum!r} is not md5:<32 digits> or sha256:<64 digits>"]


def address_faults(url: str, checksum: str | None = None) -> list[str]:
    """List why nothing is fetched from an address; without https, a checksum has to tell."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return [f"the address {url!r} is none ({error})"]
    if parts.scheme not in ("https", "http") or not host:
        return [f"the address {url!r} is not https://..."]
    plain = parts.scheme == "http" and checksum is None
    if plain and host not in ("127.0.0.1", "localhost", "::1"):
        return [
            f"the address {url!r} is not https, and no checksum would tell a changed file"
        ]
    return []
