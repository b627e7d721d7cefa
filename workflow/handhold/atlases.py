"""Atlas registries at the edge: rows of text become clouds of points."""

import html
import importlib.util
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import images, regions
from handhold.errors import StudyError
from handhold.io import read_table, require_small
from handhold.regions import Cloud
from handhold.registries import require_registered, require_valid

ATLAS_COLUMNS = (
    "name",
    "kind",
    "image",
    "labels",
    "labels_format",
    "structure_rule",
    "citation",
)
# No region of a brain is larger, and points are 1 mm apart.
LARGEST_SPHERE_MM = 100
# Probabilities that were resampled overshoot certainty by a little.
TOLERANCE = 1.05
ROI_COLUMNS = (
    "definition",
    "region",
    "hemisphere",
    "role",
    "atlas",
    "labels",
    "source",
)


@dataclass(frozen=True)
class Atlas:
    """One row of the atlas registry, with its paths resolved.

    `certain` is the value of a probabilistic image that stands for certainty: 100 where it holds
    percent, 1 where it holds proportions.
    """

    name: str
    kind: str
    image: Path
    labels: Path | None
    labels_format: str
    structure_rule: str
    citation: str
    space: str = "n/a"
    licence: str = "n/a"
    source: str = "n/a"
    certain: float = 100.0
    doi: str = "n/a"
    checksum: str = ""
    labels_checksum: str = ""


def read_atlases(path: str | Path, data_root: str | Path) -> dict[str, Atlas]:
    """Read the registry of atlases by name; relative images start from `data_root`.

    Raises
    ------
    StudyError
        If the table lacks a column or names an atlas twice, or a package is not installed.
    """
    key = "regions.atlases"
    table = _require_columns(read_table(path, key), ATLAS_COLUMNS, path, key)
    repeated = table["name"][table["name"].duplicated()].unique()
    if len(repeated):
        raise StudyError(
            f"{path} (regions.atlases) has {', '.join(repeated)} in several rows; which one is "
            "meant cannot be known. Rename or remove one."
        )
    require_valid(table, "atlases", f"{path} (regions.atlases)")
    return {
        row["name"]: Atlas(
            row["name"],
            row["kind"],
            _locate(row["image"], data_root),
            _locate(row["labels"], data_root) if row["labels"] else None,
            row["labels_format"],
            row["structure_rule"],
            row["citation"],
            row.get("space") or "n/a",
            row.get("licence") or "n/a",
            row.get("source") or "n/a",
            float(row.get("certain") or 100),
            row.get("doi") or "n/a",
            row.get("checksum", ""),
            row.get("labels_checksum", ""),
        )
        for row in table.fillna("").to_dict("records")
    }


def read_definitions(path: str | Path, definitions: list[str]) -> pd.DataFrame:
    """Read the rows of the chosen ROI definitions, in the order of `definitions`.

    Raises
    ------
    StudyError
        If a definition has no row or no hypothesised ROI, or a region has two roles or
        hemispheres.
    """
    table = _require_columns(
        read_table(path, "regions.rois"), ROI_COLUMNS, path, "regions.rois"
    ).fillna("")
    for column in ("where", "threshold", "centre", "radius"):
        if column not in table:
            table[column] = ""
    unknown = [name for name in definitions if name not in set(table["definition"])]
    if unknown:
        raise StudyError(
            f"regions.definitions: {', '.join(unknown)} has no row in {path}; defined there: "
            f"{', '.join(table['definition'].unique())}."
        )
    chosen = pd.concat([table[table["definition"] == name] for name in definitions])
    parted = [name for name in definitions if "/" in name]
    if parted:
        raise StudyError(
            f"{path}: the name {', '.join(parted)} holds a /, which parts definitions from regions "
            "(regions.rois, column definition). Rename it."
        )
    facts = chosen.groupby(["definition", "region"], sort=False)[
        ["hemisphere", "role"]
    ].nunique()
    torn = [f"{d}/{r}" for (d, r), row in facts.iterrows() if (row > 1).any()]
    if torn:
        raise StudyError(
            f"{path}: the rows of {', '.join(torn)} disagree on hemisphere or role (regions.rois)."
        )
    idle = [
        name
        for name, rows in chosen.groupby("definition", sort=False)
        if not (rows["role"] == "hypothesised").any()
    ]
    if idle:
        raise StudyError(
            f"{path}: the definition {', '.join(idle)} has no ROI with the role hypothesised, so "
            "that nothing would be confirmed or refuted (regions.rois, column role)."
        )
    return chosen.reset_index(drop=True)


def image_files(atlases: dict[str, Atlas], names: list[str]) -> list[Path]:
    """List the files that atlases are read from, for the workflow's inputs."""
    chosen = [_find(atlases, name, "regions") for name in dict.fromkeys(names)]
    return [file for atlas in chosen for file in (atlas.image, atlas.labels) if file]


def roi_clouds(
    rows: pd.DataFrame, atlases: dict[str, Atlas]
) -> dict[tuple[str, str], Cloud]:
    """Build each ROI of the chosen rows; keys are (definition, region).

    Raises
    ------
    StudyError
        If an atlas or a label does not exist, a file is not the registered one, or a region comes
        out empty.
    """
    parts: dict[tuple[str, str], list[Cloud]] = {}
    for name, of_atlas in rows.groupby("atlas", sort=False):
        if name in atlases:
            _require_registered(atlases[name])
        reader = sphere_parts if name == "sphere" else _PARTS[_kind(atlases, name)]
        for index, cloud in reader(of_atlas, atlases.get(name)):
            row = rows.loc[index]
            where = f"{row['definition']}/{row['region']} (regions.rois)"
            parts.setdefault((row["definition"], row["region"]), []).append(
                _restrict(cloud, row["where"], where)
            )
    wanted = dict.fromkeys(
        rows[["definition", "region"]].itertuples(index=False, name=None)
    )
    clouds = {key: regions.unite(parts[key], key[1]) for key in wanted}
    empty = [f"{d}/{r}" for (d, r), cloud in clouds.items() if not len(cloud.points)]
    if empty:
        raise StudyError(
            f"the ROI {', '.join(empty)} is empty: no atlas voxel is left. Look at its labels, "
            "`where` and threshold in regions.rois."
        )
    return clouds


def parcels(atlas: Atlas) -> tuple[Cloud, NDArray]:
    """Build the whole-brain parcels of a label atlas: cloud, and structure of each parcel.

    Raises
    ------
    StudyError
        If the image holds a label that the table lacks, or no label of the table at all; or a
        file is not the registered one.
    """
    _require_registered(atlas)
    volume = images.read_labels(atlas.image, f"atlas {atlas.name}")
    names = read_label_names(atlas)
    present = set(np.unique(volume.values).tolist()) - {0}
    _require_known(present, names, atlas)
    members = {name: [code] for code, name in names.items() if code in present}
    cloud = regions.label_cloud(volume.values, volume.grid.affine, members)
    codes = np.array([listed[0] for listed in members.values()])
    return cloud, _structure(atlas, codes, np.array(list(members)))


def read_label_names(atlas: Atlas) -> dict[int, str]:
    """Read the label table of an atlas: name by code, background left out.

    Formats: `id_name` (code and name, white space between), `csv` (columns index, name),
    `lut_pairs` (a line with the name, then one with code and colour), `names` (one name per
    line, codes from 1), `fsl_xml` (of FSL, as nilearn fetches it; blanks become underscores).
    """
    if atlas.labels_format not in _PAIRS:
        raise StudyError(
            f"atlas {atlas.name}: labels_format {atlas.labels_format!r} is not "
            f"{', '.join(_PAIRS)} (regions.atlases)."
        )
    if atlas.labels is None:
        raise StudyError(
            f"atlas {atlas.name}: the kind {atlas.kind} needs a label table; name it in the "
            "column labels of regions.atlases."
        )
    try:
        require_small(Path(atlas.labels), f"the label table of the atlas {atlas.name}")
        lines = Path(atlas.labels).read_text(encoding="utf-8-sig").splitlines()
        lines = [line.strip() for line in lines if line.strip()]
        pairs = [
            (int(code), name.strip())
            for code, name in _PAIRS[atlas.labels_format](lines)
        ]
    except StudyError:
        raise
    except (OSError, ValueError) as error:
        raise StudyError(
            f"the label table of the atlas {atlas.name}, {atlas.labels}, cannot be read as "
            f"{atlas.labels_format}: {error}. Paths start from data_root; look at the columns "
            "labels and labels_format of regions.atlases."
        ) from error
    # index 0 is the background of a label image, and a region of a 4D atlas
    first = 0 if atlas.kind == "probabilistic" else 1
    pairs = [(code, name) for code, name in pairs if code >= first]
    for column in zip(*pairs, strict=True):
        repeated = [str(entry) for entry, n in Counter(column).items() if n > 1]
        if repeated:
            raise StudyError(
                f"atlas {atlas.name}: the label table {atlas.labels} (regions.atlases) has "
                f"{', '.join(repeated)} in several rows, so that they cannot be told apart. "
                "Give every label one code and one name."
            )
    return dict(pairs)


def stack_rois(rois: dict[tuple[str, str], Cloud]) -> Cloud:
    """Put ROIs side by side; their names become `definition/region`."""
    named = [replace(cloud, names=("/".join(key),)) for key, cloud in rois.items()]
    return regions.stack(named)


def place_parcels(
    atlas: Atlas, *, least_volume: float, merge: bool
) -> tuple[Cloud, pd.DataFrame]:
    """Build the parcels, and drop or merge those below `least_volume` (mm^3).

    Returns
    -------
    cloud : Cloud
        Of the parcels that stay.
    table : DataFrame
        Every parcel of the atlas: region, structure, hemisphere, volume, x, y, z, status.
    """
    cloud, structure = parcels(atlas)
    centroid = cloud.centroid
    hemisphere = np.where(centroid[:, 0] < 0, "left", "right")
    group = np.char.add(structure, hemisphere)
    target = regions.place_tiny(
        cloud.volume, centroid, group, least_volume=least_volume, merge=merge
    )
    own = np.arange(len(target))
    kept = np.flatnonzero(target == own)
    status = np.full(len(target), "kept", dtype=object)
    status[target < 0] = (
        f"dropped: under {least_volume:.0f} mm^3, too small on the study's grid"
    )
    for parcel in np.flatnonzero((target >= 0) & (target != own)):
        status[parcel] = f"merged into {cloud.names[target[parcel]]}: too small"
    table = pd.DataFrame(
        {
            "region": cloud.names,
            "structure": structure,
            "hemisphere": hemisphere,
            "volume": cloud.volume,
            "status": status,
            "atlas": atlas.name,
            "source": atlas.citation,
        }
    ).join(pd.DataFrame(centroid, columns=["x", "y", "z"]))
    place = np.full(len(target), -1)
    place[kept] = np.arange(len(kept))
    joined = np.where(target >= 0, place[target], -1)
    kept_cloud = regions.relabel(cloud, joined, tuple(cloud.names[k] for k in kept))
    # a parcel that took in others lies elsewhere now
    table.loc[kept, ["x", "y", "z"]] = kept_cloud.centroid
    table.loc[kept, "volume"] = kept_cloud.volume
    return kept_cloud, table


def describe(
    rows: pd.DataFrame, rois: dict[tuple[str, str], Cloud], parcel_table: pd.DataFrame
) -> pd.DataFrame:
    """Describe every ROI and parcel: definition, labels, volume, centroid, status, source."""
    first = rows.drop_duplicates(["definition", "region"]).set_index(
        ["definition", "region"]
    )
    labels = rows.groupby(["definition", "region"], sort=False).agg(
        {"labels": "|".join, "atlas": lambda names: "|".join(dict.fromkeys(names))}
    )
    of_rois = [
        {
            "kind": "roi",
            "definition": key[0],
            "region": key[1],
            "hemisphere": first.loc[key, "hemisphere"],
            "role": first.loc[key, "role"],
            "atlas": labels.loc[key, "atlas"],
            "labels": labels.loc[key, "labels"],
            "volume": cloud.volume[0],
            **dict(zip("xyz", cloud.centroid[0], strict=True)),
            "status": "kept",
            "source": first.loc[key, "source"],
        }
        for key, cloud in rois.items()
    ]
    of_parcels = parcel_table.assign(kind="parcel", labels=parcel_table["region"])
    columns = [*of_rois[0], "structure"]
    return pd.concat(
        [
            pd.DataFrame(of_rois).reindex(columns=columns),
            of_parcels.reindex(columns=columns),
        ],
        ignore_index=True,
    )


def overlaps(clouds: dict[tuple[str, str], Cloud]) -> pd.DataFrame:
    """Compare regions of the same name between definitions: volumes (mm^3) and Dice."""
    pairs = [
        (region, first, second)
        for (first, region), (second, other) in combinations(clouds, 2)
        if region == other and first != second
    ]
    rows = []
    for region, first, second in pairs:
        one, two = clouds[first, region], clouds[second, region]
        rows.append(
            (
                region,
                first,
                second,
                one.volume[0],
                two.volume[0],
                regions.dice(one, two),
            )
        )
    columns = ["region", "definition_a", "definition_b", "volume_a", "volume_b", "dice"]
    return pd.DataFrame(rows, columns=columns)


def label_parts(rows: pd.DataFrame, atlas: Atlas):
    """Yield (row index, cloud) for rows that name labels of a label image."""
    volume = images.read_labels(atlas.image, f"atlas {atlas.name}")
    codes = {name: code for code, name in read_label_names(atlas).items()}
    present = set(np.unique(volume.values).tolist())
    _require_known(present - {0}, {code: name for name, code in codes.items()}, atlas)
    for index, row in rows.iterrows():
        listed = _codes(row, codes, atlas)
        absent = [name for name in _listed(row) if codes[name] not in present]
        if absent:
            raise StudyError(
                f"{row['definition']}/{row['region']}: the label {', '.join(absent)} is in the "
                f"table of the atlas {atlas.name} but in no voxel of its image (regions.rois)."
            )
        yield (
            index,
            regions.label_cloud(
                volume.values, volume.grid.affine, {row["region"]: listed}
            ),
        )


def probabilistic_parts(rows: pd.DataFrame, atlas: Atlas):
    """Yield (row index, cloud) for rows that cut volumes of a 4D atlas at a threshold.

    A threshold is a percentage; with `weights` in its place, every voxel counts by its probability.
    """
    codes = {name: code for code, name in read_label_names(atlas).items()}
    wanted = sorted(
        {code for _, row in rows.iterrows() for code in _codes(row, codes, atlas)}
    )
    where = f"atlas {atlas.name}"
    volumes, grid = images.read_probabilities(
        atlas.image, wanted, where, named=list(codes.values())
    )
    percent = {code: _in_percent(values, atlas) for code, values in volumes.items()}
    for index, row in rows.iterrows():
        chosen = [percent[code] for code in _codes(row, codes, atlas)]
        if row["threshold"] == "weights":
            probability = np.clip(np.sum(chosen, axis=0, dtype=float) / 100, 0, 1)
        else:
            # a union of labels, each cut on its own: the labels' maximum
            probability = (np.max(chosen, axis=0) >= _threshold(row)).astype(float)
        yield index, regions.weighted_cloud(probability, grid.affine, row["region"])


def mask_parts(rows: pd.DataFrame, atlas: Atlas):
    """Yield (row index, cloud) for rows that take a mask file whole."""
    volume = images.read_labels(atlas.image, f"atlas {atlas.name}")
    for index, row in rows.iterrows():
        inside = (volume.values != 0).astype(float)
        yield index, regions.weighted_cloud(inside, volume.grid.affine, row["region"])


def sphere_parts(rows: pd.DataFrame, _: None):
    """Yield (row index, cloud) for spheres: `centre` (x y z) and `radius`, MNI mm."""
    for index, row in rows.iterrows():
        try:
            centre = np.array(
                [float(part) for part in row["centre"].replace(",", " ").split()]
            )
            radius = float(row["radius"])
            if centre.shape != (3,) or not 0 < radius <= LARGEST_SPHERE_MM:
                raise ValueError(
                    f"three coordinates and a radius of up to {LARGEST_SPHERE_MM} mm are needed"
                )
            if not (np.abs(centre) <= images.FARTHEST_MM).all():
                raise ValueError(
                    f"the centre lies more than {images.FARTHEST_MM:g} mm from the origin"
                )
        except ValueError as error:
            raise StudyError(
                f"{row['definition']}/{row['region']}: a sphere needs a centre such as "
                f"'4 32 -8' and a radius in mm (regions.rois): {error}."
            ) from error
        yield index, regions.sphere_cloud(centre, radius, row["region"])


def _lut_pairs(lines: list[str]) -> list[tuple[int, str]]:
    """Pair each name with the code on the next line, which holds a colour too."""
    pairs = []
    for name, numbers in zip(lines[::2], lines[1::2], strict=True):
        code, *_ = map(int, numbers.split())
        pairs.append((code, name))
    return pairs


def _fsl_xml(lines: list[str]) -> list[tuple[str, str]]:
    """Pair the index of each label of FSL's XML with its name."""
    found = re.findall(r'<label index="(\d+)"[^>]*>([^<]*)<', "\n".join(lines))
    return [(code, "_".join(html.unescape(name).split())) for code, name in found]


def _in_percent(values: NDArray, atlas: Atlas) -> NDArray:
    highest = np.nanmax(values)
    if highest > atlas.certain * TOLERANCE:
        raise StudyError(
            f"atlas {atlas.name}: {atlas.image} holds probabilities up to {highest:g}, and the "
            f"column certain of regions.atlases says that {atlas.certain:g} is certainty."
        )
    return values if atlas.certain == 100 else values * (100 / atlas.certain)


# Pairs of code and name from the lines of a label table, by labels_format.
_PAIRS = {
    "id_name": lambda lines: [line.split()[:2] for line in lines],
    "csv": lambda lines: [line.split(",", 1) for line in lines[1:]],
    "lut_pairs": _lut_pairs,
    "names": lambda lines: list(enumerate(lines, start=1)),
    "fsl_xml": _fsl_xml,
}
_PARTS = {
    "labels": label_parts,
    "probabilistic": probabilistic_parts,
    "mask": mask_parts,
}


def _kind(atlases: dict[str, Atlas], name: str) -> str:
    atlas = _find(atlases, name, "regions.rois")
    if atlas.kind not in _PARTS:
        raise StudyError(
            f"atlas {name}: the kind {atlas.kind!r} is not {', '.join(_PARTS)} (regions.atlases)."
        )
    return atlas.kind


def _find(atlases: dict[str, Atlas], name: str, key: str) -> Atlas:
    if name not in atlases:
        raise StudyError(
            f"{key}: the atlas {name} is not in regions.atlases; known there: {', '.join(atlases)}."
        )
    return atlases[name]


def _locate(path: str, data_root: str | Path) -> Path:
    """Resolve `package:name/inside` to an installed package's data, others from data_root."""
    if not path.startswith("package:"):
        return Path(data_root, path)
    package, _, inside = path.removeprefix("package:").partition("/")
    # of a dotted name, the package above would be run
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if (
        found is None
        or not found.submodule_search_locations
        or not inside
        or ".." in Path(inside).parts
    ):
        raise StudyError(
            f"the atlas file {path} (regions.atlases) is no file of an installed package "
            f"({package}): install the lock file, as the README's first command does."
        )
    return Path(found.submodule_search_locations[0], inside)


def _restrict(cloud: Cloud, where: str, place: str) -> Cloud:
    if not where:
        return cloud
    try:
        return regions.restrict(cloud, where)
    except ValueError as error:
        raise StudyError(f"{place}: in the column where, {error}.") from error


def _listed(row: pd.Series) -> list[str]:
    # named twice, a label is still one part of the region
    return list(dict.fromkeys(label.strip() for label in row["labels"].split("|")))


def _codes(row: pd.Series, codes: dict[str, int], atlas: Atlas) -> list[int]:
    unknown = [label for label in _listed(row) if label not in codes]
    if unknown:
        raise StudyError(
            f"{row['definition']}/{row['region']}: the atlas {atlas.name} has no label "
            f"{', '.join(unknown)} (regions.rois, column labels; the labels are in {atlas.labels})."
        )
    return [codes[label] for label in _listed(row)]


def _threshold(row: pd.Series) -> float:
    try:
        threshold = float(row["threshold"])
        # 0 would take every voxel of the atlas
        if not 0 < threshold <= 100:
            raise ValueError("outside 0 to 100")
    except ValueError as error:
        raise StudyError(
            f"{row['definition']}/{row['region']}: a probabilistic atlas needs a threshold in "
            f"percent, above 0, or weights (regions.rois), not {row['threshold']!r}."
        ) from error
    return threshold


def _structure(atlas: Atlas, codes: NDArray, names: NDArray) -> NDArray:
    """Tell cortex from subcortex by the atlas's rule.

    `subcortex=361-426` gives codes, `cortex=^7Networks_` a pattern of names; the rest is the
    other structure. `cortex` or `subcortex` alone holds for every label.
    """
    structure, _, which = atlas.structure_rule.partition("=")
    if structure not in ("cortex", "subcortex"):
        raise StudyError(
            f"atlas {atlas.name}: structure_rule {atlas.structure_rule!r} does not say which "
            "labels are cortex or subcortex, as in 'subcortex=361-426' (regions.atlases)."
        )
    other = "cortex" if structure == "subcortex" else "subcortex"
    if not which:
        chosen = np.ones(len(codes), dtype=bool)
    elif re.fullmatch(r"[0-9]{1,9}-[0-9]{1,9}", which):
        low, high = map(int, which.split("-"))
        chosen = (codes >= low) & (codes <= high)
    else:
        try:
            chosen = np.array([re.search(which, name) is not None for name in names])
        except re.error as error:
            raise StudyError(
                f"atlas {atlas.name}: structure_rule {atlas.structure_rule!r} is no pattern "
                f"({error}), as in 'cortex=^7Networks_' (regions.atlases)."
            ) from error
    return np.where(chosen, structure, other)


def _require_registered(atlas: Atlas) -> None:
    """Refuse another image or label table than the registry describes."""
    where = f"atlas {atlas.name} (regions.atlases)"
    require_registered(atlas.image, atlas.checksum, where)
    if atlas.labels:
        require_registered(atlas.labels, atlas.labels_checksum, where)


def _require_known(present: set[int], names: dict[int, str], atlas: Atlas) -> None:
    strangers = sorted(present - set(names))
    if strangers:
        raise StudyError(
            f"atlas {atlas.name}: the image holds {len(strangers)} labels that the table "
            f"{atlas.labels} does not name ({', '.join(map(str, strangers[:10]))}). Image and "
            "table are of different versions (regions.atlases)."
        )
    if not present & set(names):
        raise StudyError(
            f"atlas {atlas.name}: no label of {atlas.labels} is in {atlas.image}."
        )


def _require_columns(
    table: pd.DataFrame, columns: tuple[str, ...], path, key: str
) -> pd.DataFrame:
    missing = [name for name in columns if name not in table]
    if missing:
        raise StudyError(
            f"the table {path} ({key}) lacks the column {', '.join(missing)}; it has "
            f"{', '.join(table.columns)}."
        )
    return table
