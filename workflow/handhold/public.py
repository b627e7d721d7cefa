"""What a study takes from public sources: planned from the configuration, fetched on request.

Two steps, so that the jobs of an analysis are known before any starts and need no network:
`snakemake fetch` brings the files to where the study reads them, and every other run finds them
there or says what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from handhold import atlases, bids
from handhold.errors import StudyError
from handhold.fetch import (
    Item,
    cache_folder,
    difference,
    fetch_file,
    item_of,
    manner_of,
    place,
    writing,
)
from handhold.io import is_file, read_table
from handhold.openneuro import Tree, fetch_tree
from handhold.transfer import (
    Manner,
    UnreachableError,
    require_network,
    require_room,
    say,
    size,
)

# What s3://bucket/key is to those without a client.
S3 = "https://s3.amazonaws.com/"
# Files that a message names one by one.
SHOWN = 5
SOURCE_COLUMNS = ["item", "url", "checksum", "version", "licence", "citation"]


class NotFetchedError(StudyError):
    """Files of public sources are not here yet: `snakemake fetch` brings them."""


@dataclass(frozen=True)
class Wanted:
    """A file of a registry (receptor map, atlas image or label table), and where it belongs."""

    what: str
    item: Item
    path: Path


@dataclass(frozen=True)
class Plan:
    """What a study takes from public sources: `files` of the registries, `trees` of OpenNeuro."""

    files: tuple[Wanted, ...]
    trees: tuple[Tree, ...]

    def missing(self) -> list[str]:
        """List what is not here yet."""
        absent = [str(wanted.path) for wanted in self.files if not is_file(wanted.path)]
        return absent + [path for tree in self.trees for path in tree.missing()]

    def require_fetched(self) -> None:
        """Refuse to go on without the files.

        Raises
        ------
        NotFetchedError
            With how many are missing, and the first of them.
        """
        missing = self.missing()
        if missing:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            raise NotFetchedError(
                f"{len(missing)} files or folders that the study takes from public sources are not "
                f"here: {', '.join(missing[:SHOWN])}{more}. If you have them, mend data_root; else "
                "fetch them, on a machine that has a network and sees the same folders"
            )

    def sources(self) -> pd.DataFrame:
        """Return where everything comes from: item, url, checksum, version, licence, citation."""
        rows = [
            (w.what, w.item.url, w.item.checksum, None, w.item.licence, w.item.citation)
            for w in self.files
        ]
        rows += [
            (
                told["what"],
                tree.address,
                None,
                *(told[key] for key in SOURCE_COLUMNS[3:]),
            )
            for tree in self.trees
            if (told := tree.listing())
        ]
        table = pd.DataFrame(rows, columns=SOURCE_COLUMNS, dtype=object)
        return table.replace("", None).drop_duplicates(ignore_index=True)

    def dataset_citations(self) -> list[dict[str, str]]:
        """Return what the page says of fetched datasets: what, citation, licence."""
        told = [listing for tree in self.trees if (listing := tree.listing())]
        return [
            {key: one[key] for key in ("what", "citation", "licence")} for one in told
        ]


def plan(config: dict) -> Plan:
    """Plan what a study takes from public sources; nothing is fetched.

    Parameters
    ----------
    config : dict
        With every default filled in.

    Raises
    ------
    StudyError
        If a registry has a fault, or a folder holds another dataset than the study asks for.
    """
    return Plan(tuple(_files(config)), plan_datasets(config).trees)


def plan_datasets(config: dict) -> Plan:
    """Plan the datasets alone, as `plan`: preprocessing needs no maps."""
    return Plan((), tuple(_trees(config)))


def fetch_study(config: dict, command: str) -> None:
    """Fetch what a study takes from public sources and is not here yet.

    Parameters
    ----------
    config : dict
        With every default filled in.
    command : str
        That fetches, for messages.

    Raises
    ------
    StudyError
        If the network is forbidden and something is missing; or files could not be fetched, or
        are there and not as registered: with all of them, after the others were fetched; or if
        the user stops it.
    """
    manner = manner_of(config["fetch"], command)
    taken = plan(config)
    faults = _unlike(taken)
    missing = taken.missing()
    if missing:
        require_network(manner, f"{len(missing)} files or folders ({missing[0]}, ...)")
    wants = _file_wants(taken, cache_folder(config["fetch"]), manner)
    wants += [
        (tree.address, partial(fetch_tree, tree, manner))
        for tree in taken.trees
        if tree.missing()
    ]
    try:
        faults += _try_all(wants)
    except KeyboardInterrupt:
        raise StudyError(
            f"stopped. What came is kept, and gone on from by the same command: {command}"
        ) from None
    if faults:
        raise StudyError(
            "not all could be fetched:\n" + "\n".join(f"  - {f}" for f in faults)
        )
    say("everything that the study takes from public sources is here")


def _unlike(taken: Plan) -> list[str]:
    """List files that are where they belong, and are not the registered ones."""
    return [
        f"{wanted.path} is there, but is a file {fault} ({wanted.what}). Remove it to have the "
        "registered one fetched, or give your file a row of its own (receptors.table, "
        "regions.atlases)."
        for wanted in taken.files
        if is_file(wanted.path) and (fault := difference(wanted.path, wanted.item))
    ]


def _try_all(wants: list[tuple[str, Callable[[], None]]]) -> list[str]:
    """Fetch what is wanted, each from its address; return the faults, of a lost host only one."""
    faults: list[str] = []
    untried: dict[str, int] = {}
    for address, fetch in wants:
        host = urlsplit(address).netloc
        if host in untried:
            untried[host] += 1
            continue
        try:
            fetch()
        except UnreachableError as error:
            untried[host] = 0
            faults.append(str(error))
        except StudyError as error:
            faults.append(str(error))
    faults += [
        f"{n} more from {host}, which does not answer: not tried"
        for host, n in untried.items()
        if n
    ]
    return faults


def _file_wants(
    taken: Plan, cache: Path, manner: Manner
) -> list[tuple[str, Callable[[], None]]]:
    """Return the files of registries that are missing: address, and what fetches each."""
    absent = [wanted for wanted in taken.files if not is_file(wanted.path)]
    total = sum(wanted.item.n_bytes or 0 for wanted in absent)
    if absent:
        with writing(cache):
            cache.mkdir(parents=True, exist_ok=True)
        say(
            f"{len(absent)} files, {size(total)} as far as registered, by way of {cache}"
        )
        require_room(total, cache, "What is missing of maps and atlases", manner)
    return [(w.item.url, partial(_fetch_one, w, cache, manner)) for w in absent]


def _fetch_one(wanted: Wanted, cache: Path, manner: Manner) -> None:
    """Fetch a file of a registry into the cache, and copy it."""
    item = wanted.item
    say(f"{wanted.what}: licence: {item.licence}; cite: {item.citation}")
    place(fetch_file(item, cache, manner=manner), wanted.path)


def _files(config: dict) -> list[Wanted]:
    """List the files of receptor maps and atlases that have an address."""
    root, chosen = Path(config["data_root"]), config["regions"]
    found = []
    if config["source"] != "simulated":
        maps = {config["receptors"]["target"], *config["receptors"]["panel"]}
        known = read_table(config["receptors"]["table"], "receptors.table").fillna("")
        found = [
            _wanted(f"receptor map {row['receptor']}", row, root)
            for row in known.to_dict("records")
            if row.get("receptor") in maps and row.get("url")
        ]
    rois = atlases.read_definitions(chosen["rois"], chosen["definitions"])
    names = {*rois["atlas"], chosen["parcels"]}
    known = read_table(chosen["atlases"], "regions.atlases").fillna("")
    for row in known.to_dict("records"):
        if row.get("name") not in names:
            continue
        for column, before in (("image", ""), ("labels", "labels_")):
            own = {
                name: row.get(f"{before}{name}", "")
                for name in ("url", "checksum", "bytes")
            }
            if own["url"]:
                what = f"atlas {row['name']}, {column}"
                found.append(_wanted(what, {**row, **own, "file": row[column]}, root))
    return list({wanted.path: wanted for wanted in found}.values())


def _wanted(what: str, row: dict, root: Path) -> Wanted:
    path = Path(row["file"])
    if path.is_absolute() or ".." in path.parts:
        raise StudyError(
            f"{what}: the file {path} would be fetched to outside data_root."
        )
    return Wanted(what, item_of(row), root / path)


def _trees(config: dict) -> list[Tree]:
    """List the raw dataset and the derivatives that are fetched from OpenNeuro."""
    section = config.get("bids", {})
    if "openneuro" not in section:
        return []
    section = bids.plain_labels(section)
    asked, root = section["openneuro"], Path(config["data_root"])
    address = f"{asked['address'].rstrip('/')}/{asked['dataset']}"
    trees = [
        Tree(
            address,
            root / section["dataset"],
            section,
            preprocessed=False,
            raw_images=asked["raw_images"],
            version=asked.get("version"),
        )
    ]
    if "derivatives" in asked:
        given = asked["derivatives"].strip("/").replace("s3://", S3, 1)
        own = given if "://" in given else f"{address}/{given}"
        trees.append(
            Tree(own, root / section["derivatives"], section, preprocessed=True)
        )
    return trees
