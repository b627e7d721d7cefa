"""The registries say where every region and every receptor map comes from."""

import csv
import hashlib
import re
import unicodedata
from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from handhold import atlases, registries
from handhold.errors import StudyError
from handhold.provenance import EXPRESSION, cite_maps

ATLASES = Path(__file__).parents[1] / "atlases"
DOI = re.compile(r"10\.\d{4,9}/\S+")
# Columns that may be empty, because most regions have neither.
OPTIONAL = {"where", "threshold"}


def read(name):
    with (ATLASES / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


RECEPTORS, PARCELLATIONS, ROIS = map(read, ("receptors.tsv", "atlases.tsv", "rois.tsv"))
BY_NAME = {row["name"]: row for row in PARCELLATIONS}
# Files that were read when their row was written: what the row says of them was measured.
READ = [row for row in RECEPTORS if row["bytes"] != "n/a"]
HELD = {
    row["name"]
    for row in PARCELLATIONS
    if row["bytes"] != "n/a" or row["image"].startswith("package:")
}


def locate(path, data_root):
    """Turn a registry's path into a real one."""
    if path.startswith("package:"):
        package, _, inside = path.removeprefix("package:").partition("/")
        return Path(str(files(package))) / inside
    return data_root / path


def read_labels(atlas, data_root):
    """Read an atlas table by hand: identifier to name."""
    lines = locate(atlas["labels"], data_root).read_text().splitlines()
    if atlas["labels_format"] == "id_name":
        return {int(line.split()[0]): line.split()[1] for line in lines if line}
    if atlas["labels_format"] == "csv":
        return {int(row["index"]): row["name"] for row in csv.DictReader(lines)}
    if atlas["labels_format"] == "lut_pairs":
        identifiers = [int(line.split()[0]) for line in lines[1::2]]
        return dict(zip(identifiers, lines[0::2], strict=True))
    return dict(enumerate(lines, start=1))


@pytest.mark.parametrize("name", ["receptors.tsv", "atlases.tsv", "rois.tsv"])
def test_every_row_is_complete(name):
    rows = read(name)
    assert rows
    for row in rows:
        # DictReader files surplus cells under None and missing ones as None.
        assert None not in row
        assert None not in row.values(), row
        empty = {column for column, cell in row.items() if not cell.strip()}
        assert empty <= OPTIONAL, (row, empty)
        assert all(cell == cell.strip() for cell in row.values()), row


@pytest.mark.parametrize(
    ("registry", "rows"), [("receptors", RECEPTORS), ("atlases", PARCELLATIONS)]
)
def test_every_column_is_described_and_every_cell_fits(registry, rows):
    known = registries.columns(registry)
    assert list(rows[0]) == list(known)
    assert all(entry["description"].strip() for entry in known.values())
    table = pd.DataFrame(rows).replace("n/a", "")
    registries.require_valid(table, registry, registry)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("kind", "mrna"),
        ("kind", "PET, mRNA"),
        (
            "checksum",
            "5f0e06a9079f8dd5b27ac0243f050cea60e1c45452657db343a58abea7142cc8",
        ),
        ("checksum", "md5:5f0e"),
        ("background", "zero"),
        ("negative", "maybe"),
        ("url", "file:///map.nii"),
        ("n", "0"),
        ("receptor", "../MOR"),
        ("file", ""),
        ("licence", ""),
    ],
)
def test_a_cell_that_would_be_misread_is_refused(column, cell):
    table = pd.DataFrame([{**RECEPTORS[0], column: cell}, RECEPTORS[1]])
    with pytest.raises(StudyError) as caught:
        registries.require_valid(table, "receptors", "mine.tsv (receptors.table)")
    text = str(caught.value)
    assert "mine.tsv (receptors.table): 1 cells cannot be read" in text
    assert f"{column} is {cell!r}; " in text
    # what the column is not needed for may be left out
    few = ["receptor", "label", "unit", "file", "background", "citation", "licence"]
    registries.require_valid(pd.DataFrame(RECEPTORS)[few], "receptors", "mine.tsv")


@pytest.mark.parametrize(
    ("rows", "key"),
    [
        (RECEPTORS, ("receptor",)),
        (RECEPTORS, ("file",)),
        (READ, ("checksum",)),
        (PARCELLATIONS, ("name",)),
        (ROIS, ("definition", "region")),
        (ROIS, ("definition", "labels", "where")),
    ],
)
def test_keys_are_unique(rows, key):
    keys = [tuple(row[column] for column in key) for row in rows]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("row", RECEPTORS + PARCELLATIONS)
def test_a_map_or_atlas_names_its_paper(row):
    assert re.search(r"\(\d{4}\)", row["citation"])
    assert all(DOI.fullmatch(doi) for doi in row["doi"].split("; "))


def folded(text):
    """Letters and digits, lower case, accents off: authors as names of maps have them."""
    plain = unicodedata.normalize("NFKD", text.replace("ø", "o"))
    return "".join(c for c in plain.lower() if c.isascii() and c.isalnum())


@pytest.mark.parametrize("row", RECEPTORS, ids=lambda row: row["receptor"])
def test_the_name_of_a_map_is_its_paper(row):
    _, author, *copy = row["receptor"].split("_")
    assert copy in ([], ["osf"])
    name, year = re.fullmatch(r"([a-z]+)(\d{4})?", author).groups()
    if year:
        first = re.split(r" et al\.|,| \(", row["citation"])[0]
        assert (folded(first), f"({year})" in row["citation"]) == (name, True)
    else:  # unpublished, or a paper on another map: the note or the citation says whose it is
        assert name in folded(row["citation"])


# A molecule goes by several words; each begins the names of its maps.
MOLECULES = {
    "MOR": "mu-opioid receptor",
    "KOR": "kappa-opioid receptor",
    "D1": "dopamine D1",
    "D2": "dopamine D2 and D3",
    "DAT": "dopamine transporter",
    "FDOPA": "dopamine synthesis",
    "5HT1a": "serotonin 1A",
    "5HT1b": "serotonin 1B",
    "5HT2a": "serotonin 2A",
    "5HT4": "serotonin 4",
    "5HT6": "serotonin 6",
    "5HTT": "serotonin transporter",
    "GABAa": "GABA-A receptor, benzodiazepine site",
    "GABAa5": "GABA-A receptor, alpha-5",
    "NAT": "noradrenaline transporter",
    "A4B2": "nicotinic acetylcholine receptor, alpha-4 beta-2",
    "M1": "muscarinic acetylcholine receptor M1",
    "VAChT": "vesicular acetylcholine transporter",
    "CB1": "cannabinoid 1",
    "NMDA": "NMDA receptor",
    "mGluR5": "metabotropic glutamate receptor 5",
    "H3": "histamine 3",
    "OXTR": "oxytocin receptor",
}


@pytest.mark.parametrize("row", RECEPTORS, ids=lambda row: row["receptor"])
def test_the_name_of_a_map_is_its_molecule(row):
    molecule = row["receptor"].partition("_")[0]
    assert row["target"].startswith(MOLECULES[molecule])
    others = {m for m, target in MOLECULES.items() if row["target"].startswith(target)}
    assert others == {molecule}


def test_every_system_of_the_panel_is_there():
    assert {row["receptor"].partition("_")[0] for row in RECEPTORS} == set(MOLECULES)


QUANTITIES = ("BP_ND", "V_T", "SUVR", "B_max (pmol/mL)")
CHANGES = ("", "rescaled to maximum 100", "rescaled to minimum 0, maximum 100")


@pytest.mark.parametrize("row", RECEPTORS, ids=lambda row: row["receptor"])
def test_unit_tracer_and_kind_agree(row):
    assert row["kind"] in ("PET", "SPECT", "mRNA")
    if row["kind"] == "mRNA":
        assert row["tracer"] == "n/a"
        assert "mRNA" in row["unit"]
        assert "mRNA" in row["label"]
        return
    isotopes = {"PET": ("[11C]", "[18F]"), "SPECT": ("[123I]",)}[row["kind"]]
    assert row["tracer"].startswith(isotopes)
    quantity, _, changed = row["unit"].partition(", ")
    assert re.fullmatch("|".join(CHANGES), changed)
    assert quantity in QUANTITIES or (quantity == "a.u." and changed)
    # a volume of distribution is not a binding potential, and its row says so, rescaled or not
    assert (quantity == "V_T") == ("not BP_ND" in row["note"])
    # what is not known is said not to be
    assert (quantity == "a.u.") == ("is not said where" in row["note"])


def test_copies_of_one_map_hold_one_quantity():
    """The collection of maps in their own unit says what those are that others rescaled."""
    rows = {row["receptor"]: row["unit"].partition(",")[0] for row in RECEPTORS}
    assert rows["MOR_kantonen2020"] == rows["MOR_kantonen2020_osf"] == "BP_ND"
    # by neuromaps' list of maps: Laurikainen 2019 and Galovic 2021 mapped V_T, Dukart 2018 an
    # uptake ratio
    assert rows["CB1_laurikainen2019"] == rows["NMDA_galovic2021"] == "V_T"
    assert rows["DAT_dukart2018"] == "SUVR"


def test_one_tracer_has_one_molecule():
    pairs = {(row["tracer"], row["target"]) for row in RECEPTORS}
    assert len({tracer for tracer, _ in pairs}) == len(pairs)


@pytest.mark.parametrize("row", RECEPTORS, ids=lambda row: row["receptor"])
def test_the_name_of_a_file_agrees_with_its_row(row):
    """Collections write tracer, author, number of people or resolution into the name."""
    found = re.fullmatch(
        r"pet/source-([a-z]+)(\d*)_desc-(\w+)_space-MNI152_res-[123]mm_feature.nii.gz",
        row["file"],
    )
    if found:
        author, year, tracer = found.groups()
        own = row["receptor"].split("_")[1]
        # where the collection writes it otherwise, the row says how the file is named
        assert own == author + year or f"is named {author + year}" in row["note"]
        assert tracer in folded(row["tracer"])
        assert row["url"].startswith("https://files.osf.io/v1/resources/4mw3a/")
    people = re.search(r"_(?:hc(\d+)|(\d+)hc)_", row["file"])
    assert bool(people) == (row in READ)
    if people:
        assert row["n"] in people.groups()
        assert row["url"].endswith(row["file"].removeprefix("pet/"))


@pytest.mark.parametrize(
    "row",
    [
        *((row["url"], row["bytes"], row["checksum"]) for row in RECEPTORS),
        *((row["url"], row["bytes"], row["checksum"]) for row in PARCELLATIONS),
        *(
            (row["labels_url"], row["labels_bytes"], row["labels_checksum"])
            for row in PARCELLATIONS
        ),
    ],
)
def test_a_file_whose_size_is_known_has_a_checksum(row):
    url, n_bytes, checksum = row
    assert url == "n/a" or url.startswith("https://")
    assert n_bytes == "n/a" or checksum != "n/a"


def test_addresses_and_checksums_are_not_those_of_another_row():
    for key in ("url", "checksum"):
        given = [row[key] for row in RECEPTORS if row[key] != "n/a"]
        assert len(set(given)) == len(given)


def test_every_binding_map_can_be_fetched_and_checked():
    for row in RECEPTORS:
        expected = row["kind"] != "mRNA"
        assert (row["url"] != "n/a") == (row["checksum"] != "n/a") == expected


def test_the_maps_of_the_hypothesis_are_the_published_files():
    """OSF identifiers and checksums, written down apart from the table that is tested."""
    given = {
        "MOR_kantonen2020_osf": (
            "6196ca9a1088a703e9bce6b5",
            "3bceb339f11b6b259509fdbf76d97db5",
            "204",
        ),
        "MOR_turtonen2021": (
            "6196cadc1088a703e8bce0f4",
            "4041b17d30bad447baa6382d977fb7bd",
            "39",
        ),
        "KOR_vijay2018": (
            "6566590ea7a4834be871422b",
            "209455eb30f2328a96bf2719bd5e4654",
            "28",
        ),
    }
    rows = {row["receptor"]: row for row in RECEPTORS}
    for name, (identifier, md5, n) in given.items():
        assert rows[name]["url"].rpartition("/")[2] == identifier
        assert rows[name]["checksum"] == f"md5:{md5}"
        assert rows[name]["n"] == n
    assert rows["KOR_vijay2018"]["unit"] == "V_T"


NILEARN = {
    "harvard_oxford_cortical": ("harvard_oxford", ("cortl-prob-2mm",)),
    "harvard_oxford_subcortical": ("harvard_oxford", ("sub-prob-2mm",)),
    "pauli2017": ("pauli_2017", ("probabilistic",)),
    "schaefer400": ("schaefer_2018", (400, 7, 2)),
}


@pytest.mark.parametrize("name", NILEARN)
def test_an_atlas_comes_from_where_nilearn_fetches_it(name, monkeypatch, tmp_path):
    from nilearn.datasets import atlas

    fetcher, arguments = NILEARN[name]
    asked = []

    class Enough(Exception):
        """Nothing is fetched."""

    def note(_, files, **__):
        asked.extend((str(path), url, bool(how)) for path, url, how in files)
        raise Enough

    monkeypatch.setattr(atlas, "fetch_files", note)
    with pytest.raises(Enough):
        getattr(atlas, f"fetch_atlas_{fetcher}")(
            *arguments, data_dir=tmp_path, verbose=0
        )
    row = BY_NAME[name]
    for column, file in (("url", "image"), ("labels_url", "labels")):
        address, _, member = row[column].partition("#")
        (path,) = [path for path, url, _ in asked if url == address and member in path]
        # of an archive, the member is what nilearn looks for once it has unpacked it
        assert path == member or not member
        assert not member or row[file] == f"atlases/fsl/{path}"
        assert row["licence"] != "n/a"


def digest(path, checksum):
    algorithm = checksum.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    "row",
    [
        *((row["file"], row["bytes"], row["checksum"]) for row in READ),
        *(
            (row[kind], row[f"{prefix}bytes"], row[f"{prefix}checksum"])
            for row in PARCELLATIONS
            if row["bytes"] != "n/a"
            for kind, prefix in (("image", ""), ("labels", "labels_"))
        ),
    ],
    ids=lambda row: row[0],
)
def test_a_file_is_the_one_that_was_registered(row, shared_data):
    file, n_bytes, checksum = row
    path = shared_data / file
    assert path.stat().st_size == int(n_bytes)
    assert digest(path, checksum) == checksum


@pytest.mark.parametrize("row", READ, ids=lambda row: row["receptor"])
def test_the_stated_background_and_unit_hold_in_the_file(row, shared_data):
    values = np.asarray(nib.load(shared_data / row["file"]).dataobj, dtype=float)
    outside = values.flat[0]
    assert row["background"] == "constant"
    unique, counts = np.unique(values, return_counts=True)
    assert unique[counts.argmax()] == outside
    # A brain fills a fifth to a third of these boxes.
    assert 0.66 < np.mean(values == outside) < 0.86
    # "Rescaled to maximum 100": the peaks of two maps were smoothed off by at most
    # 2 % when the collection resampled them.
    assert 98 < values.max() < 100.001
    brain = values[values != outside]
    assert brain.min() >= 0
    shifted = outside < -1
    assert ("minimum 0" in row["unit"]) == shifted


def test_every_map_that_was_read_is_in_the_folder_and_back(shared_data):
    there = {f"pet/{path.name}" for path in (shared_data / "pet").glob("*.nii*")}
    assert there == {row["file"] for row in READ}


def test_the_page_cites_every_map_and_says_which_is_no_protein():
    assert EXPRESSION in {row["kind"] for row in RECEPTORS}
    for row, entry in zip(RECEPTORS, cite_maps(RECEPTORS), strict=True):
        assert entry["licence"] == row["licence"]
        assert entry["citation"] == f"{row['citation']}; doi {row['doi']}"
        assert f"{row['unit']}). {row['note']}" in entry["what"]
        assert ("mRNA and not protein" in entry["what"]) == (row["kind"] == "mRNA")
    # a table of one's own need not have them
    (own,) = cite_maps([{**RECEPTORS[0], "doi": "", "note": ""}])
    assert own["citation"] == RECEPTORS[0]["citation"]
    assert own["what"].endswith(f"{RECEPTORS[0]['unit']})")


# Counts from the papers: cortex and subcortex areas of each parcellation.
PARCELS = {
    "hcpex": (360, 66),
    "schaefer100_tian_s2_nlin6asym": (100, 32),
    "schaefer100_tian_s2_nlin2009casym": (100, 32),
    "schaefer400_tian_s2_nlin2009casym": (400, 32),
    "schaefer200": (200, 0),
    "schaefer400": (400, 0),
    "tian_s2_nlin6asym": (0, 32),
    "tian_s2_nlin2009casym": (0, 32),
}


def count_structures(rule, labels):
    structure, _, pattern = rule.partition("=")
    interval = re.fullmatch(r"(\d+)-(\d+)", pattern)
    if interval:
        low, high = map(int, interval.groups())
        named = sum(low <= identifier <= high for identifier in labels)
    else:  # without a pattern the rule holds for every label
        named = sum(bool(re.search(pattern, name)) for name in labels.values())
    rest = len(labels) - named
    return (named, rest) if structure == "cortex" else (rest, named)


def test_every_atlas_with_a_structure_rule_has_a_known_count():
    ruled = {row["name"] for row in PARCELLATIONS if row["structure_rule"] != "n/a"}
    assert ruled == set(PARCELS)


@pytest.mark.parametrize("name", sorted(HELD & set(PARCELS)))
def test_the_structure_rule_tells_cortex_from_subcortex(name, request):
    atlas = BY_NAME[name]
    packaged = atlas["labels"].startswith("package:")
    root = None if packaged else request.getfixturevalue("shared_data")
    labels = read_labels(atlas, root)
    labels.pop(0, None)
    assert count_structures(atlas["structure_rule"], labels) == PARCELS[name]


# Labels that AAL3's table keeps for compatibility, though its image gave their
# voxels to the new subdivisions; a region built on one would be empty.
RETIRED = {35, 36, 81, 82}


@pytest.mark.parametrize("name", sorted(HELD))
def test_an_atlas_image_agrees_with_its_table(name, request):
    atlas = BY_NAME[name]
    assert atlas["kind"] in ("labels", "probabilistic", "mask")
    packaged = atlas["image"].startswith("package:")
    root = None if packaged else request.getfixturevalue("shared_data")
    image = nib.load(locate(atlas["image"], root))
    labels = read_labels(atlas, root)
    if atlas["kind"] == "probabilistic":
        assert sorted(labels) == list(range(image.shape[3]))
        return
    values = set(np.unique(np.asarray(image.dataobj)).astype(int).tolist())
    assert values - {0} == set(labels) - {0} - (RETIRED if name == "aal3" else set())


def test_the_two_harvard_oxford_definitions_are_the_same_regions():
    """One reads a file that holds cortex and subcortex, the other FSL's two files."""
    own = [
        [
            {**row, "definition": "", "atlas": ""}
            for row in ROIS
            if row["definition"] == d
        ]
        for d in ("harvard_oxford", "harvard_oxford_fsl")
    ]
    assert own[0] == own[1]
    half = {
        row["region"]: row["atlas"].rpartition("_")[2]
        for row in ROIS
        if row["definition"] == "harvard_oxford_fsl" and row["hemisphere"] == "both"
    }
    subcortical = {name for name, atlas in half.items() if atlas == "subcortical"}
    assert subcortical == {"striatum", "caudate", "putamen", "accumbens"}


@pytest.mark.parametrize(
    "definition",
    sorted({row["definition"] for row in ROIS if row["atlas"] in HELD}),
)
def test_every_label_of_a_region_is_in_its_atlas(definition, request):
    rows = [row for row in ROIS if row["definition"] == definition]
    for row in rows:
        atlas = BY_NAME[row["atlas"]]
        packaged = atlas["labels"].startswith("package:")
        root = None if packaged else request.getfixturevalue("shared_data")
        table = read_labels(atlas, root)
        names = {table[key] for key in table if key not in RETIRED or not packaged}
        assert set(row["labels"].split("|")) <= names, row["region"]
        assert bool(row["threshold"]) == (atlas["kind"] == "probabilistic")


@pytest.mark.parametrize("definition", sorted({row["definition"] for row in ROIS}))
def test_left_and_right_make_both(definition):
    rows = {row["region"]: row for row in ROIS if row["definition"] == definition}
    bilateral = [name for name, row in rows.items() if row["hemisphere"] == "both"]
    for name in bilateral:
        sides = [rows[f"{name}_L"], rows[f"{name}_R"]]
        assert [side["hemisphere"] for side in sides] == ["left", "right"]
        left, right = (set(side["labels"].split("|")) for side in sides)
        assert left | right == set(rows[name]["labels"].split("|"))
        assert all(re.search(r"^Left_|_L$", label) for label in left)
        assert all(re.search(r"^Right_|_R$", label) for label in right)
        assert {side["where"] for side in sides} == {rows[name]["where"]}
    assert len(rows) == 3 * len(bilateral)


@pytest.mark.parametrize("definition", sorted({row["definition"] for row in ROIS}))
def test_the_hypothesis_is_four_bilateral_regions(definition):
    rows = [row for row in ROIS if row["definition"] == definition]
    hypothesised = {row["region"] for row in rows if row["role"] == "hypothesised"}
    assert hypothesised == {"vACC", "vPFC", "striatum", "insula"}
    assert {row["role"] for row in rows} == {"hypothesised", "detail"}
    for row in rows:
        assert DOI.search(row["source"])
        cites_hypothesis = "10.1111/j.1467-9280.2006.01832.x" in row["source"]
        assert cites_hypothesis == (row["role"] == "hypothesised")


@pytest.mark.parametrize("row", ROIS, ids=lambda row: row["region"])
def test_a_plane_is_written_in_the_one_form_there_is(row):
    assert re.fullmatch(r"([xyz] (<|<=|>|>=) -?\d+(\.\d+)?)?", row["where"])


# --- Forms of atlases that are fetched -----------------------------------------------------

FSL_XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<atlas version="1.0">
  <header><name>Harvard-Oxford Cortical (Lateralized)</name><type>Probabilistic</type></header>
  <data>
<label index="0" x="68" y="89" z="33">Left Frontal Pole</label>
<label index="1" x="24" y="89" z="33">Right Juxtapositional Lobule (formerly S&amp;M)</label>
  </data>
</atlas>
"""


def fetched(tmp_path, values, **columns):
    """Write a 4D atlas of two volumes with FSL's label table, and read its registry row."""
    image = nib.Nifti1Image(np.asarray(values, np.float32), np.diag([2.0, 2, 2, 1]))
    image.header.set_xyzt_units("mm")
    image.set_sform(np.diag([2.0, 2, 2, 1]), code=4)
    nib.save(image, tmp_path / "prob.nii.gz")
    (tmp_path / "labels.xml").write_text(FSL_XML, encoding="utf-8")
    row = {
        **BY_NAME["harvard_oxford_cortical"],
        "image": "prob.nii.gz",
        "labels": "labels.xml",
        **columns,
    }
    table = tmp_path / "atlases.tsv"
    table.write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    return atlases.read_atlases(table, tmp_path)


def frontal_pole(atlas, **columns):
    row = {
        "definition": "d",
        "region": "pole",
        "hemisphere": "left",
        "role": "hypothesised",
        "atlas": "harvard_oxford_cortical",
        "labels": "Left_Frontal_Pole",
        "where": "",
        "threshold": "25",
        "source": "s",
    }
    return atlases.roi_clouds(pd.DataFrame([row | columns]), atlas)


def test_the_labels_of_fsl_are_read_from_its_xml(tmp_path):
    atlas = fetched(tmp_path, np.zeros((2, 2, 2, 2)))["harvard_oxford_cortical"]
    assert atlases.read_label_names(atlas) == {
        0: "Left_Frontal_Pole",
        1: "Right_Juxtapositional_Lobule_(formerly_S&M)",
    }


@pytest.mark.parametrize("certain", ["1", "100"])
def test_a_threshold_is_in_percent_whatever_the_atlas_holds(tmp_path, certain):
    proportions = np.zeros((4, 1, 1, 2))
    proportions[:, 0, 0, 0] = [0.1, 0.24, 0.26, 1.0]
    values = proportions * float(certain)
    found = frontal_pole(fetched(tmp_path, values, certain=certain))
    # two voxels of 2 mm are at 25 % or above
    assert found["d", "pole"].volume.tolist() == [16]


def test_percent_is_not_taken_for_proportions(tmp_path):
    values = np.full((2, 2, 2, 2), 60.0)
    with pytest.raises(StudyError, match=r"up to 60.*says that 1 is certainty"):
        frontal_pole(fetched(tmp_path, values, certain="1"))
    with pytest.raises(StudyError, match="harvard_oxford_cortical: certain is '2'"):
        fetched(tmp_path, values, certain="2")


def test_labels_counted_from_1_do_not_name_the_volumes_next_to_theirs(tmp_path):
    """Pauli's table has not been read: whether it counts from 0 shows in what is fetched."""
    row = {"labels_format": "id_name", "labels": "labels.txt", "certain": "1"}
    atlas = fetched(tmp_path, np.zeros((2, 2, 2, 2)), **row)
    wanted = {"labels": "Ca"}
    (tmp_path / "labels.txt").write_text("0 Pu\n1 Ca\n")
    with pytest.raises(
        StudyError, match="is empty"
    ):  # read, and no voxel is above 25 %
        frontal_pole(atlas, **wanted)
    for text in ("1 Pu\n2 Ca\n", "1 Ca\n", "0 Pu\n1 Ca\n2 NAC\n"):
        (tmp_path / "labels.txt").write_text(text)
        with pytest.raises(StudyError, match=r"2 volumes.*one for each|no volume 2"):
            frontal_pole(atlas, **wanted)
