"""Bytes over the network: resumed, retried, bounded, and from no host that was not named.

On requests, which nilearn and Snakemake bring anyway, because nothing tried does all of it. Run
against the servers of tests/servers.py:
- pooch 1.9 verifies hashes and tries again, but from the first byte, after a second whatever
  Retry-After says, and after 404 too; follows a redirect to any host; ten processes that want one
  file download it ten times; what a killed one leaves is neither gone on from nor removed.
- nilearn 0.14's downloader goes on from what is there, but without If-Range, so that it splices
  two versions of a file; tries nothing again; and of ten processes several fail.
- urllib3's Retry sees a status, not a body that breaks off.
"""

import email.utils
import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from handhold.errors import StudyError

if TYPE_CHECKING:
    import requests  # a fifth of a second, that only jobs that fetch should pay

# Statuses that pass by themselves; every other fault of ours or of the address stays.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A chain of more is a circle.
MAX_REDIRECTS = 5
# Where public archives keep the bytes that they serve by redirect: OSF by way of the region that a
# project is stored in.
OSF = (
    *("osf.io", "files.osf.io", "files.us.osf.io", "files.de-1.osf.io"),
    *("files.ca-1.osf.io", "files.au-1.osf.io", "storage.googleapis.com"),
)
FIGSHARE = ("figshare.com", "ndownloader.figshare.com", "s3-eu-west-1.amazonaws.com")
GITHUB = (
    *("raw.githubusercontent.com", "media.githubusercontent.com"),
    *("objects.githubusercontent.com", "release-assets.githubusercontent.com"),
    "codeload.github.com",
)
STORES = {
    **dict.fromkeys(OSF[:-1], OSF),
    **dict.fromkeys(FIGSHARE[:-1], FIGSHARE),
    "github.com": GITHUB,
}
# Amazon's S3: of a bucket, of a region, of both or of neither (then the bucket is in the path).
S3 = re.compile(r"(?:([a-z0-9][a-z0-9.-]+)\.)?s3(?:[.-]([a-z0-9-]+))?\.amazonaws\.com")
REGION = re.compile("[a-z]+(-[a-z]+)+-[0-9]+")
PORTS = {"https": 443, "http": 80}
CHUNK = 1 << 18
# Slower than this over a whole fetch.timeout_s is a connection that has died.
LEAST_RATE = 1000
# A try that brought this much was no failure: the count of tries begins again.
PROGRESS = 1_000_000
# Longer than a server's "later" can be waited for in a job.
LONGEST_WAIT_S = 600
REPORT_EVERY_S = 5
GB = 1e9


@dataclass(frozen=True)
class Manner:
    """How to fetch.

    `offline` forbids the network; `retries` after faults that pass by themselves, the first
    after `backoff_s`, each later one after twice as long; `timeout_s` without a byte, or with
    fewer than a thousand a second, is such a fault; `max_bytes` that may be fetched at once;
    `connections` at a time; `command` that fetches where there is a network; `stopping`, once
    set, ends what other threads fetch.
    """

    offline: bool = False
    retries: int = 5
    backoff_s: float = 1.0
    timeout_s: float = 30.0
    max_bytes: int = 20_000_000_000
    connections: int = 4
    command: str = "snakemake fetch --cores 1"
    stopping: threading.Event = field(default_factory=threading.Event, compare=False)


@dataclass(frozen=True)
class Remote:
    """Where bytes come from.

    `hosts` that `url` may redirect to beside its own; size, if known; `gzipped`, whether the file
    itself is gzip, which some servers declare as an encoding of the way; `checked`, whether a
    checksum will tell if the file is whole, so that its size need not be known.
    """

    url: str
    hosts: tuple[str, ...] = ()
    n_bytes: int | None = None
    gzipped: bool = False
    checked: bool = False


class UnreachableError(StudyError):
    """A host does not answer: nor will it for other files."""


class Passing(Exception):
    """A fault that may pass: try again, after `wait` seconds if the server says so."""

    def __init__(self, text: str, wait: float = 0.0, *, answered: bool = True):
        super().__init__(text)
        self.wait, self.answered = wait, answered


class Stopped(Exception):
    """Another thread has ended the fetch; what came is kept."""


class Progress:
    """Bytes and rate of one or several files, a line now and then; safe between threads."""

    def __init__(self, name: str, total: int | None):
        self.name, self.total, self.done = name, total, 0
        self._brought, self._began, self._said = 0, time.monotonic(), time.monotonic()
        self._lock = threading.Lock()

    def expect(self, n_bytes: int | None) -> None:
        """Tell a size that was not known before it came."""
        if n_bytes is not None and self.total is None:
            self.total = n_bytes
            say(f"{self.name}: {size(n_bytes)}")

    def add(self, n_bytes: int, *, brought: bool = True) -> None:
        """Count bytes; those that were there already are not `brought`."""
        with self._lock:
            self.done += n_bytes
            self._brought += n_bytes * brought
            now = time.monotonic()
            if now - self._said >= REPORT_EVERY_S:
                self._said = now
                say(self.line())

    def line(self) -> str:
        """Say how much is here, and how fast it came."""
        rate = self._brought / max(time.monotonic() - self._began, 1e-3)
        share = (
            f" of {size(self.total)} ({self.done / self.total:.0%})"
            if self.total
            else ""
        )
        return f"{self.name}: {size(self.done)}{share}, {size(rate)}/s"


def size(n_bytes: float) -> str:
    """Write a number of bytes for people.

    Examples
    --------
    >>> size(999), size(1_500_000), size(2.5e9)
    ('999 B', '1.5 MB', '2.5 GB')
    """
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= step:
            return f"{n_bytes / step:.1f} {unit}"
    return f"{n_bytes:.0f} B"


def say(text: str) -> None:
    """Tell the user on standard error, where Snakemake's own lines go."""
    print(f"fetch: {text}", file=sys.stderr, flush=True)


def require_network(manner: Manner, what: str) -> None:
    """Refuse to go on without a network.

    Raises
    ------
    StudyError
        With the command to run where there is one.
    """
    if manner.offline:
        raise StudyError(
            f"{what} would have to be fetched, and fetch.offline forbids the network. Run on a "
            f"machine that has one and sees the same folders: {manner.command}"
        )


def require_room(n_bytes: int, folder: Path, what: str, manner: Manner) -> None:
    """Refuse more bytes than may be fetched, or than the disk takes.

    Raises
    ------
    StudyError
        With both numbers.
    """
    if n_bytes > manner.max_bytes:
        raise StudyError(
            f"{what} is {size(n_bytes)}, more than fetch.max_download_gb "
            f"({manner.max_bytes / GB:g}) allows. Raise the key if this much is meant; "
            "bids.participant_label takes fewer people."
        )
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise StudyError(
            f"{what} is {size(n_bytes)} and {folder} has room for {size(free)}. Make room, or "
            "name another folder (data_root; fetch.cache for what is kept between studies)."
        )


def receive(remote: Remote, part: Path, manner: Manner, progress: Progress) -> None:
    """Bring a file to `part`, going on where an earlier try or process stopped.

    Parameters
    ----------
    remote : Remote
    part : path
        The bytes so far; beside it, `.json`, what the server called this version of the file.
    manner : Manner
    progress : Progress

    Raises
    ------
    StudyError
        If the network is forbidden; the address refuses or is not there (404, 403: no retry);
        faults did not pass; the file is too large, has no known size or does not fit the disk;
        or a redirect leads elsewhere. What has come stays in `part` only after faults that pass.
        UnreachableError if the host does not answer.
    """
    require_network(manner, remote.url)
    with _session() as session:
        _insist(
            lambda: _go_on(session, remote, part, manner, progress),
            remote,
            part,
            manner,
        )


def read(remote: Remote, manner: Manner, limit: int, **query: str) -> bytes:
    """Read a short answer of at most `limit` bytes into memory; errors as `receive`."""
    require_network(manner, remote.url)

    def ask() -> bytes:
        with _open(session, remote, manner, {}, query) as response:
            body = b"".join(_chunks(response, manner, limit))
        declared = response.headers.get("Content-Length")
        if declared is not None and str(len(body)) != declared.strip():
            raise Passing(f"the answer broke off after {len(body)} of {declared} bytes")
        return body

    with _session() as session:
        return _insist(ask, remote, None, manner)


def forget(part: Path) -> None:
    """Remove what has come of a file."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


# --- One try after another -------------------------------------------------------------------


def _session() -> "requests.Session":
    import requests

    session = requests.Session()
    # gzip on the way would be counted in other bytes than the file has
    session.headers["Accept-Encoding"] = "identity"
    session.headers["User-Agent"] = "handhold"
    return session


def _insist(ask: Callable, remote: Remote, part: Path | None, manner: Manner):
    """Ask again after faults that pass, waiting longer each time."""
    tries = 0
    while True:
        before = _length(part)
        try:
            return ask()
        except Passing as fault:
            tries = 1 if _length(part) - before >= PROGRESS else tries + 1
            kept = f" The {size(n)} that came are kept." if (n := _length(part)) else ""
            if tries > manner.retries or fault.wait > LONGEST_WAIT_S:
                later = (
                    f"; the server asks to wait {fault.wait:.0f} s"
                    if fault.wait
                    else ""
                )
                kind = StudyError if fault.answered else UnreachableError
                raise kind(
                    f"{remote.url} could not be fetched in {tries} "
                    f"{'try' if tries == 1 else 'tries'} ({fault}{later}).{kept} "
                    "Try again later, or, if this machine has no network, on one that has: "
                    f"{manner.command}"
                ) from fault
            wait = max(fault.wait, manner.backoff_s * 2 ** (tries - 1))
            say(f"{remote.url}: {fault}; again in {wait:.1f} s")
            if manner.stopping.wait(wait):
                raise Stopped from fault


def _go_on(
    session: "requests.Session",
    remote: Remote,
    part: Path,
    manner: Manner,
    progress: Progress,
) -> None:
    """Ask for the bytes that are not there yet, and append them."""
    known = _known(part, remote)
    offset = _length(part) if known else 0
    if known and offset == known["total"]:
        progress.add(offset, brought=False)
        return
    headers = {}
    if offset:
        headers = {"Range": f"bytes={offset}-", "If-Range": known["validator"]}
    with _open(session, remote, manner, headers) as response:
        start = _start(response, known, offset)
        if start is None:
            forget(part)
            raise Passing("the server does not go on where the file broke off")
        total = known["total"] if start else _total(response)
        total = remote.n_bytes if total is None else total
        _require_size(total, remote, part, manner, start)
        if not start:
            forget(part)
            _write_note(part, remote, response.headers, total)
        progress.expect(total)
        progress.add(start, brought=False)
        try:
            _append(response, part, total, manner, progress)
        except BaseException:
            progress.add(-_length(part), brought=False)  # counted again by the next try
            raise


def _append(
    response: "requests.Response",
    part: Path,
    total: int | None,
    manner: Manner,
    progress: Progress,
) -> None:
    missing = manner.max_bytes if total is None else total - _length(part)
    try:
        with part.open("ab") as file:
            for chunk in _chunks(response, manner, missing):
                file.write(chunk)
                progress.add(len(chunk))
    except OSError as error:
        forget(part)
        raise StudyError(
            f"{response.url} cannot be written below {part.parent} ({error.strerror}), and what "
            "had come was removed. Make room, or name another folder (data_root, fetch.cache)."
        ) from error
    if total is not None and _length(part) < total:
        raise Passing(f"the connection ended after {_length(part)} of {total} bytes")


def _chunks(response: "requests.Response", manner: Manner, most: int):
    """Yield the body as it comes; refuse one of more than `most` bytes, or one that drips."""
    from urllib3.exceptions import HTTPError

    came, window, began = 0, 0, time.monotonic()
    while True:
        try:
            chunk = response.raw.read1(CHUNK, decode_content=False)
        except (HTTPError, OSError) as error:
            raise Passing(f"the connection broke: {_plain(error)}") from error
        if not chunk:
            return
        came, window = came + len(chunk), window + len(chunk)
        if came > most:
            raise StudyError(
                f"{response.url} sends more than the {most} bytes that it should have. The file "
                "has changed, or the address is wrong; look at its row in the registry."
            )
        yield chunk
        if manner.stopping.is_set():
            raise Stopped
        if (passed := time.monotonic() - began) > manner.timeout_s:
            if window < LEAST_RATE * passed:
                raise Passing(f"{window} bytes came in {passed:.0f} s")
            window, began = 0, time.monotonic()


# --- What a server answers -------------------------------------------------------------------


def _open(
    session: "requests.Session",
    remote: Remote,
    manner: Manner,
    headers: dict[str, str],
    query: dict[str, str] | None = None,
) -> "requests.Response":
    """Ask for a URL, following redirects to named hosts only."""
    from requests.exceptions import RequestException, SSLError

    url, allowed = remote.url, _allowed(remote)
    for _ in range(MAX_REDIRECTS + 1):
        _require_allowed(url, remote.url, allowed)
        try:
            response = session.get(
                url,
                params=query,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=manner.timeout_s,
            )
        except SSLError as error:
            raise StudyError(
                f"{url}: the server's certificate is not valid ({_plain(error)}). Look at the "
                "clock and the certificates of this machine."
            ) from error
        except RequestException as error:
            raise Passing(f"no answer: {_plain(error)}", answered=False) from error
        except ValueError as error:  # where a redirect leads to is looked at early
            raise StudyError(f"{url} leads to what is no address: {error}.") from error
        if response.status_code not in REDIRECTS:
            break
        response.close()
        if "Location" in response.headers:
            url = urljoin(url, response.headers["Location"])
            query = None if "?" in url else query
        else:
            url = _in_region(response, url)
    else:
        raise StudyError(f"{remote.url} redirects more than {MAX_REDIRECTS} times.")
    if response.status_code in (200, 206, 416):
        _refuse_packed(response, remote)
        return response
    response.close()
    _refuse_status(response, remote)
    return response


def _refuse_packed(response: "requests.Response", remote: Remote) -> None:
    """Refuse a file packed for the way, though asked for as it is: its bytes are not the file's."""
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity" and not (remote.gzipped and packed.endswith("gzip")):
        response.close()
        raise StudyError(
            f"{remote.url} comes packed ({packed}), though it was asked for as it is. Put the "
            "file in place by hand."
        )


def _refuse_status(response: "requests.Response", remote: Remote) -> None:
    status = response.status_code
    if status in PASSING:
        wait = _seconds(response.headers.get("Retry-After"))
        raise Passing(f"status {status} {response.reason}", wait)
    meaning = {
        401: "the server asks for a login: the file is not public",
        403: "the server refuses the file: it is not public, or not there",
        404: "the file is not there",
        410: "the file was removed",
    }.get(status, "the server does not give the file")
    raise StudyError(
        f"{remote.url}: {meaning} (status {status}). Look at the address in the registry or "
        "configuration; if it has moved, correct it, or put the file in place by hand."
    )


def _in_region(response: "requests.Response", url: str) -> str:
    """Return the address in the region of its bucket: S3 tells the region, and not the address."""
    region = response.headers.get("x-amz-bucket-region", "")
    parts = urlsplit(url)
    place = S3.fullmatch(parts.netloc)
    if not (place and not place[1] and REGION.fullmatch(region)):
        raise StudyError(
            f"{url} leads elsewhere (status {response.status_code}) and does not say where"
            + (f": the bucket is in the region {region}" if region else "")
            + ". Correct the address."
        )
    return parts._replace(netloc=f"s3.{region}.amazonaws.com").geturl()


def _bucket(url: SplitResult) -> str | None:
    """Return the bucket of an address of Amazon's S3."""
    place = S3.fullmatch(url.netloc)
    return (place[1] or url.path.split("/")[1:2][0]) if place and url.path else None


def _allowed(remote: Remote) -> set[tuple[str, int]]:
    """Return host and port of every place that the bytes may come from."""
    own = urlsplit(remote.url)
    hosts = {_place(own), (own.hostname or "", 443)}
    for name in (*remote.hosts, *STORES.get(own.hostname or "", ())):
        hosts.add(_place(urlsplit(f"{own.scheme}://{name}")))
        hosts.add((urlsplit(f"https://{name}").hostname or "", 443))
    return hosts


def _place(url: SplitResult) -> tuple[str, int]:
    return url.hostname or "", url.port or PORTS.get(url.scheme, 0)


def _require_allowed(url: str, first: str, allowed: set[tuple[str, int]]) -> None:
    """Refuse another scheme or host than the address itself names or its archive is known for."""
    try:
        parts = urlsplit(url)
        place = _place(parts)
    except ValueError as error:
        raise StudyError(
            f"{first} leads to {url!r}, which is no address: {error}."
        ) from error
    safe = parts.scheme == "https" or (
        # a plain address was chosen by whoever wrote it; nothing leads from https down to it
        parts.scheme == "http" == urlsplit(first).scheme
    )
    own = _bucket(urlsplit(first))
    # the same bucket, by another of its addresses
    moved = parts.scheme == "https" and own and _bucket(parts) == own
    if not safe or not (place in allowed or moved):
        named = ", ".join(sorted({host for host, _ in allowed}))
        raise StudyError(
            f"{first} leads to {parts.scheme}://{parts.netloc}, where nothing is fetched from "
            f"(only {'http or ' if urlsplit(first).scheme == 'http' else ''}https from {named}). "
            "A login page of this network is the usual cause; else correct the address."
        )


def _start(
    response: "requests.Response", known: dict | None, offset: int
) -> int | None:
    """Return the byte that the answer starts at; None if it does not fit what is there."""
    if response.status_code == 416:
        return None
    if response.status_code == 200:
        return 0  # the file has changed, or this server always sends it whole
    span = response.headers.get("Content-Range", "").removeprefix("bytes ")
    etag = response.headers.get("ETag")
    same = known is not None and etag in (None, known["etag"])
    whole = known["total"] if known else 0
    spans = {f"{offset}-{whole - 1}/{of}" for of in (whole, "*")}
    return offset if same and span in spans else None


def _total(response: "requests.Response") -> int | None:
    declared = response.headers.get("Content-Length", "")
    return int(declared) if declared.isdecimal() and len(declared) < 19 else None


def _require_size(
    total: int | None, remote: Remote, part: Path, manner: Manner, start: int
) -> None:
    if total is None and remote.checked:
        return
    if total is None:
        raise StudyError(
            f"{remote.url}: the server does not say how large the file is, and neither does the "
            "registry, so that a whole file cannot be told from a part. Give its size in the "
            "column bytes, or its checksum."
        )
    if remote.n_bytes not in (None, total):
        raise StudyError(
            f"{remote.url} is {total} bytes at the server and {remote.n_bytes} in the registry or "
            "listing: it is another file or version. Look at the address, then correct the entry."
        )
    require_room(total - start, part.parent, remote.url, manner)


def _seconds(header: str | None) -> float:
    """Read Retry-After: seconds, or a date."""
    if not header:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        then = email.utils.parsedate_to_datetime(header).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, then - time.time())


def _plain(error: BaseException) -> str:
    """Return the innermost cause of an error of the network, in its own words."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException) or inner is error:
            return str(error) or type(error).__name__
        error = inner


# --- What has come so far --------------------------------------------------------------------


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_note(part: Path, remote: Remote, headers: dict, total: int | None) -> None:
    etag, changed = headers.get("ETag"), headers.get("Last-Modified")
    # a weak ETag does not promise the same bytes
    strong = etag if etag and not etag.startswith("W/") else changed
    note = {"url": remote.url, "etag": etag, "validator": strong, "total": total}
    try:
        _note(part).write_text(json.dumps(note), encoding="utf-8")
    except OSError as error:
        forget(part)
        raise StudyError(
            f"{remote.url} cannot be written below {part.parent} ({error.strerror}). Make room, "
            "or name another folder (data_root, fetch.cache)."
        ) from error


def _known(part: Path, remote: Remote) -> dict | None:
    """Return what is known of the bytes of an earlier try, if they can be gone on from."""
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(note, dict):
        return None
    length = part.is_file() and not part.is_symlink() and _length(part)
    fits = note.get("url") == remote.url and note.get("validator") and length
    return note if fits and length <= (note.get("total") or 0) else None


def _length(part: Path | None) -> int:
    return part.stat().st_size if part is not None and part.is_file() else 0
