"""Whatever stands in a file is read rightly, or refused in one message: thousands of bent inputs.

tests/fuzz holds what bends them, and longer commands; here are the cases of continuous
integration, and a small test for each fault that was found.
"""

import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from brains import AFFINE, SHAPE, draw, write
from hypothesis import given, settings
from hypothesis import strategies as st

from handhold import (
    atlases,
    bids,
    bold,
    design,
    events,
    images,
    io,
    sources,
    spec,
    transfer,
)
from handhold.errors import LONGEST_LINE, StudyError

RUN = Path(__file__).parent / "fuzz" / "run.py"
sys.path.insert(0, str(RUN.parent))

import absurd  # noqa: E402
from targets import CONFOUNDS, TARGETS, laughs  # noqa: E402

WHERE = "sub-07"


def message(function, *arguments, **options):
    with pytest.raises(StudyError) as caught:
        function(*arguments, **options)
    return str(caught.value)


# --- Many cases, in a process of their own with 2 GB, and 10 s for each ---------------------------


def survey(folder, *options):
    """Run cases; return the row of each target."""
    counts = folder / "counts.json"
    command = [sys.executable, str(RUN), "--json", str(counts), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # a case that crashed, or took too long, has left no counts
    assert counts.is_file(), done.stderr[-2000:]
    return json.loads(counts.read_text()), done.stdout


def hold(rows, n):
    for target, row in rows.items():
        assert not row["faults"], f"{target}: {row['faults'][0]}"
        assert row["read"] + row["refused"] == n


def test_bent_inputs_are_read_rightly_or_refused_in_one_message(tmp_path):
    rows, _ = survey(tmp_path, "--cases", "45")
    hold(rows, 45)
    assert set(rows) == set(TARGETS)
    # a target whose cases all end alike tests nothing
    assert all(row["read"] and row["refused"] for row in rows.values()), rows


@pytest.mark.slow
@pytest.mark.parametrize("third", [0, 1, 2])
def test_more_bent_inputs(third, tmp_path):
    # by thirds, since each process has to load what parses
    named = [part for target in [*TARGETS][third::3] for part in ("--target", target)]
    rows, _ = survey(tmp_path, "--first", "45", "--cases", "660", *named)
    assert len(rows) == len(TARGETS) / 3
    hold(rows, 660)


@pytest.mark.parametrize("case", ["claims", "laughing", "names", "many_people"])
def test_a_size_that_nobody_has_is_refused(case, tmp_path):
    absurd.CASES[case](tmp_path)


@pytest.mark.slow
def test_sizes_that_nobody_has_take_no_memory_and_no_time(tmp_path):
    rows, said = survey(tmp_path, "--absurd")
    hold(rows, 1)
    assert len(rows) > 10
    peak = float(said.split("peak memory ")[1].split(" MB")[0])
    assert peak < 2000


def test_what_is_not_as_it_should_be_is_noticed(tmp_path, monkeypatch):
    """The judge itself: another exception, and a message that says nothing, are faults."""
    from targets import attempt

    with pytest.raises(KeyError):
        attempt(lambda: {}["x"])
    for text in ("no", "x" * 100_000, "a sentence without its place, which is missing"):
        with pytest.raises(AssertionError):
            attempt(lambda text=text: raise_(StudyError(text)), "place.key")


def raise_(error):
    raise error


# --- Hypothesis, which shrinks what it finds -----------------------------------------------------

derandomised = settings(derandomize=True, database=None, deadline=None, max_examples=60)


@pytest.mark.parametrize(
    "target", ["config", "table", "events", "label tables", "image", "answers"]
)
def test_hypothesis_finds_nothing_either(target, tmp_path):
    @derandomised
    @given(st.randoms(use_true_random=False))
    def whatever_is_drawn(rng):
        TARGETS[target](rng, tmp_path)

    whatever_is_drawn()


cells = st.text(
    st.characters(blacklist_characters='\t\n\r"\0', codec="utf-8"), max_size=6
)


@derandomised
@given(
    rows=st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_a_table_keeps_every_cell(rows, end, tmp_path_factory):
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    rows = [[f"x{i}", *row] for i, row in enumerate(rows)]
    lines = [["a", "b", "c", "d"], *rows]
    path.write_bytes("".join("\t".join(line) + end for line in lines).encode())
    found = io.read_table(path, "maps.table")
    wanted = [
        [None if c.strip() in io.MISSING else c.strip() for c in row] for row in rows
    ]
    assert found.astype(object).where(found.notna(), None).to_numpy().tolist() == wanted


@derandomised
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*spec.schema()["properties"], "x", 1, None]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_yaml_holds_is_no_traceback(tree):
    with pytest.raises(StudyError, match="the configuration has"):
        spec.resolve(tree)


@derandomised
@given(st.binary(max_size=600))
def test_whatever_bytes_are_no_image(content):
    path = Path(tempfile.gettempdir(), f"fuzz-{os.getpid()}.nii")
    path.write_bytes(content)
    try:
        with pytest.raises(StudyError, match=str(path)):
            images.read_volume(path, "radiological", WHERE)
    finally:
        path.unlink()


# --- One fault each ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_that_claims_more_than_its_file_allocates_nothing(
    name, tmp_path, monkeypatch
):
    content = bytearray(nib.Nifti1Image(np.ones(SHAPE, "u1"), AFFINE).to_bytes())
    content[40:48] = struct.pack("<4h", 3, 2048, 1024, 1024)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    # a stand-in for what would take 16 GB
    monkeypatch.setattr(
        nib.arrayproxy.ArrayProxy, "__array__", lambda *_: pytest.fail("it was read")
    )
    said = message(images.read_labels, path, WHERE)
    assert str(2048 * 1024 * 1024 + 352) in said
    assert "truncated or corrupt" in said


def test_a_volume_of_more_voxels_than_a_brain_has_is_refused(
    tmp_path, monkeypatch, rng
):
    path = write(tmp_path / "a.nii", draw(rng))
    monkeypatch.setattr(images, "MOST_VOXELS", np.prod(SHAPE))
    images.read_volume(path, None, WHERE)
    monkeypatch.setattr(images, "MOST_VOXELS", np.prod(SHAPE) - 1)
    assert "(20, 24, 20)" in message(images.read_volume, path, None, WHERE)


def test_what_stands_before_the_voxels_is_bounded(tmp_path, rng):
    path = write(tmp_path / "a.nii", draw(rng))
    for offset in (-1e30, np.nan, np.inf, 2.0**40):
        content = path.read_bytes()
        path.write_bytes(content[:108] + struct.pack("<f", offset) + content[112:])
        assert "would begin at byte" in message(images.read_volume, path, None, WHERE)


@pytest.mark.parametrize("name", ["a.gii", "a.mnc", "a.PAR", "a.mgz", "a.xyz", "a"])
def test_no_other_format_is_tried(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>")
    said = message(images.read_volume, path, None, WHERE)
    assert f"{WHERE}: {path}" in said


@pytest.mark.parametrize("code", [np.inf, 2.0**40, -(2.0**31)])
def test_codes_that_no_label_image_has_do_not_wrap_round(code, tmp_path):
    values = np.ones(SHAPE)
    values[0, 0, 0] = code
    path = write(tmp_path / "a.nii", values)
    assert "no labels" in message(images.read_labels, path, "atlas x")


def test_more_behind_the_last_volume_is_not_unpacked(tmp_path):
    image = nib.Nifti1Image(np.ones((*SHAPE, 2), "u1"), AFFINE)
    image.set_sform(AFFINE, code="mni")
    path = tmp_path / "a.nii.gz"
    mask = write(tmp_path / "m.nii", np.ones(SHAPE, "u1"))
    path.write_bytes(gzip.compress(image.to_bytes() + bytes(images.LONGEST_TAIL)))
    assert bold.read_bold(path, mask, WHERE).n_volumes == 2
    path.write_bytes(gzip.compress(image.to_bytes() + bytes(10 * images.LONGEST_TAIL)))
    assert "more follows its 2 volumes" in message(bold.read_bold, path, mask, WHERE)


def test_a_blank_first_cell_behind_a_blank_line_shifts_nothing(tmp_path):
    # pandas takes the tab of such a row for a blank where lines end in \r alone
    path = tmp_path / "t.tsv"
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes(f"a\tb\tc{end}{end}\t2\t3{end}".encode())
        (row,) = io.read_table(path, "k").to_dict("records")
        assert pd.isna(row["a"])
        assert (row["b"], row["c"]) == ("2", "3")


def test_nan_is_a_word_where_a_column_says_so(tmp_path):
    # the value outside the brain of a receptor map may be nan, and was read as not known
    path = tmp_path / "t.tsv"
    path.write_text("receptor\tbackground\nMOR\tnan\nKOR\tn/a\nNaN\t0\n")
    table = io.read_table(path, "receptors.table", with_nan="background")
    assert table["background"].fillna("missing").tolist() == ["nan", "missing", "0"]
    assert table["receptor"].isna().tolist() == [False, False, True]


def test_a_quotation_mark_takes_no_rows_away(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('id\tnote\n01\t"didn\'t sleep\n02\tfine\n03\tlate"\n')
    said = message(io.read_table, path, "ratings.table")
    assert "over several lines" in said
    assert "row 2" in said
    # a spreadsheet writes notes of several lines, and commas, this way
    path = tmp_path / "t.csv"
    path.write_text('id,note\n01,"a\nb"\n02,fine\n')
    assert len(io.read_table(path, "ratings.table")) == 2


def test_a_confound_table_with_more_cells_than_names_is_not_shifted(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_text("trans_x\ttrans_y\n" + "1\t2\t3\n" * 5)
    said = message(design.load_confounds, path, CONFOUNDS, WHERE)
    assert "more cells than the header" in said


def test_an_exclusion_column_without_a_word_in_it_excludes_nobody():
    table = pd.DataFrame(
        {"id": ["1", "2", "3"], "file": ["a", "b", "c"], "why": [np.nan] * 3},
        dtype=object,
    )
    maps = {
        **{
            "table": "t.tsv",
            "columns": {"subject": "id", "image": "file"},
            "contrast": "x",
        },
        **{"rename": {}, "include": {}, "exclude_column": "why"},
    }
    contrasts = [{"name": "p", "image": "x", "direction": "baseline_minus_held"}]
    assert len(sources.list_images(table, maps, contrasts).images) == 3
    # reasons of rows without a subject belong to nobody
    with_reason = table.assign(id=[np.nan, "2", "3"], why=["late", np.nan, np.nan])
    assert "no subject" in message(sources.list_images, with_reason, maps, contrasts)


@pytest.mark.parametrize(
    "template",
    [
        "{id.__class__}.nii",
        "{id:>99999999999}.nii",
        "{id!r}.nii",
        "{0[1]}",
        "{}",
        "{id[0]}",
    ],
)
def test_a_template_names_columns_and_nothing_else(template):
    table = pd.DataFrame({"id": ["1", "2", "3"]})
    maps = {
        **{"table": "t.tsv", "columns": {"subject": "id"}, "contrast": "x"},
        **{"rename": {}, "include": {}, "image_template": template},
    }
    contrasts = [{"name": "p", "image": "x", "direction": "baseline_minus_held"}]
    assert "maps.image_template" in message(sources.list_images, table, maps, contrasts)
    plain = sources.list_images(
        table, {**maps, "image_template": "{id}_{{x}}.nii"}, contrasts
    )
    assert plain.images["image"].tolist() == ["1_{x}.nii", "2_{x}.nii", "3_{x}.nii"]


@pytest.mark.parametrize(
    ("centre", "radius"),
    [
        ("0 0 0", "1e6"),
        ("0 0 0", "inf"),
        ("1e300 0 0", "6"),
        ("nan 0 0", "6"),
        ("0 0", "6"),
        ("x", "6"),
    ],
)
def test_a_sphere_is_as_large_as_a_region_and_in_a_brain(centre, radius):
    row = pd.DataFrame(
        [{"definition": "d", "region": "r", "centre": centre, "radius": radius}]
    )
    said = message(lambda: list(atlases.sphere_parts(row, None)))
    assert "d/r: a sphere needs" in said


@pytest.mark.parametrize(
    "path",
    [
        "package:os.path/x",
        "package:json",
        "package:",
        "package:a b/c",
        "package:zipimport/x",
    ],
)
def test_a_package_of_an_atlas_is_one_that_is_installed(path, tmp_path):
    assert "regions.atlases" in message(atlases._locate, path, tmp_path)


@pytest.mark.parametrize("rule", ["cortex=(", "cortex=[z-a]", "cortex=*", "x=1-2", ""])
def test_a_structure_rule_is_a_pattern(rule, tmp_path):
    atlas = atlases.Atlas("mine", "labels", tmp_path, tmp_path, "names", rule, "x")
    codes, names = np.array([1, 2]), np.array(["a", "b"])
    assert "structure_rule" in message(atlases._structure, atlas, codes, names)
    # of more digits than Python turns into a number: a pattern that nothing fits
    many = replace(atlas, structure_rule=f"cortex={'9' * 5000}-1")
    assert set(atlases._structure(many, codes, names)) == {"subcortex"}


@pytest.mark.parametrize(
    "content", ["[" * 200_000, '{"a":' * 200_000, "9" * 5000, "\ufeff[]"]
)
def test_json_that_is_too_deep_is_no_traceback(content, tmp_path):
    path = tmp_path / "b.json"
    path.write_text(content, encoding="utf-8")
    run = {"subject": "07", "session": None, "run": None, "sidecar": str(path)}
    assert str(path) in message(bids.repetition_time, run)
    assert str(path) in message(io.read_json, path)


def test_labels_of_runs_may_have_any_number_of_digits():
    assert events.same_label("9" * 5000) == "9" * 5000
    assert [events.same_label(x) for x in ("000", "010", "1")] == ["0", "10", "1"]


@pytest.mark.parametrize("kind", ["cut", "pickle", "text", "empty"])
def test_an_intermediate_that_was_changed_is_named(kind, tmp_path):
    path = tmp_path / "a.npz"
    io.write_arrays({"x": np.arange(1000)}, path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-400])
    elif kind == "pickle":
        np.savez(path, x=np.array([{}], dtype=object))
    else:
        path.write_text("x" * (kind == "text"))
    said = message(io.read_arrays, path)
    assert f"{path} is damaged" in said
    assert "Delete it, and the same command makes it again." in said


def test_numbers_of_a_server_may_be_any_text():
    class Answer:
        def __init__(self, value):
            self.headers = {"Content-Length": value}

    wanted = {"12": 12, "9" * 5000: None, "-1": None, "x": None, "": None, "²": None}
    assert {text: transfer._total(Answer(text)) for text in wanted} == wanted
    assert transfer._seconds("Mon, 1 Jan 99999 00:00:00 GMT") == 0
    assert transfer._seconds("\x00") == 0


# --- The configuration ---------------------------------------------------------------------------

STUDY = "study: x\ntitle: t\nsource: simulated\nseed: 1\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("study: y\n", "the key study is given 2 times"),
        ("nulls: {n: 999, n: 9999}\n", "the key n is given 2 times"),
        ("__use_yte__: true\n", "would run Python"),
        ("x: !!python/object/apply:os.system [x]\n", "is not plain YAML"),
        ("x: !!binary aGFuZA==\n", "is not plain YAML"),
        ("? [a]\n: b\n", "a key is no text"),
        ("\tx: 1\n", "cannot be read as YAML"),
        ("x: " + "9" * 5000, "cannot be read as YAML"),
        ("x: " + "[" * 100_000, "cannot be read as YAML"),
        ("x: " + "y" * 3_100_000, "3000000 bytes"),
        ("---\nx: 1\n", "cannot be read as YAML"),
    ],
)
def test_what_yaml_passes_over_is_refused_with_its_line(text, fault, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    spec.require_readable([path])
    path.write_text(STUDY + text)
    said = message(spec.require_readable, [path])
    assert fault in said
    assert str(path) in said


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-32"])
def test_a_configuration_is_utf_8(encoding, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("title: Zoë\n", encoding=encoding)
    assert "in UTF-8" in message(spec.require_readable, [path])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"seed": 10**400}, "seed is a number beyond"),
        ({"tests": {"level": 10**400}}, "tests.level is a number beyond"),
        ({"title": "\ud800"}, "a character that no text has"),
        ({"title": "a\0b"}, "a character that no text has"),
        ({"title": "\x1b[2J"}, "a character that no text has"),
        ({None: 1}, "the key None is no text"),
        ({True: 1}, "the key True is no text"),
        ({"bids": {"entities": {1.5: "x"}}}, "the key 1.5 is no text"),
        ({"title": yaml.safe_load(laughs(15))}, "more than 500000 values"),
    ],
)
def test_what_no_key_takes_is_a_fault(change, fault):
    given = {**yaml.safe_load(STUDY), **change}
    said = message(spec.resolve, given)
    assert fault in said
    assert len(said) < 2000


def test_a_message_shows_no_book():
    said = message(spec.resolve, {**yaml.safe_load(STUDY), "seed": "x" * 100_000})
    assert "seed: 'xxx" in said
    assert len(said) < 3000
    text = str(StudyError("a\x1b[2J\u202eb\ud800 " + "y" * 100_000 + "\nsecond\tline"))
    first, second = text.split("\n")
    assert first.startswith("a\\x1b[2J\\u202eb\\ud800 yyy")
    assert len(first) < LONGEST_LINE + 100
    assert second == "second\tline"
    text.encode()
