import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handhold import spec
from handhold.errors import StudyError
from handhold.sources import (
    cells_of,
    file_label,
    list_images,
    plain_subject,
    require_files,
)

CELLS = [(c, q) for c in ("alone", "partner") for q in ("threat", "safe")]
PARTNER = [{"name": "partner", "baseline": "alone", "held": "partner"}]
READY = [{"name": "held", "image": "diff", "direction": "baseline_minus_held"}]
COLUMNS = {
    "subject": "participant_id",
    "image": "file",
    "condition": "who",
    "cue": "cue",
}


def section(**changes):
    """Return a section maps with its defaults; a change to None removes the key."""
    maps = {
        "table": "study/images.tsv",
        "columns": COLUMNS,
        "rename": {"condition": {}, "cue": {}},
        "include": {},
        **changes,
    }
    return {key: value for key, value in maps.items() if value is not None}


def cells(subjects=("01", "02", "03"), runs=(None,)):
    rows = [
        {
            "participant_id": subject,
            "who": who,
            "cue": cue,
            "run": run,
            "file": f"{subject}/{who}_{cue}{run or ''}.nii.gz",
        }
        for subject in subjects
        for who, cue in CELLS
        for run in runs
    ]
    return pd.DataFrame(rows, dtype=str)


def faults(table, maps, contrasts=PARTNER):
    with pytest.raises(StudyError) as caught:
        list_images(table, maps, contrasts)
    assert "study/images.tsv" in str(caught.value)
    return [line[4:] for line in str(caught.value).splitlines() if line[:3] == "  -"]


# --- What becomes of a sound table ------------------------------------------------------


def test_cells_become_a_manifest():
    manifest = list_images(cells(), section(), PARTNER)
    assert manifest.subjects == ["01", "02", "03"]
    assert manifest.excluded.empty
    assert len(manifest.images) == 12
    assert (
        manifest.images[["contrast", "run", "variance", "tsnr"]].isna().all(axis=None)
    )
    own = manifest.of("02")
    assert list(zip(own["condition"], own["cue"], strict=True)) == CELLS
    assert own["image"].iloc[0] == "study/02/alone_threat.nii.gz"


def test_one_image_per_person_needs_no_cells():
    table = pd.DataFrame({"participant_id": list("abc"), "file": list("xyz")})
    maps = section(columns={"subject": "participant_id", "image": "file"})
    manifest = list_images(table, {**maps, "contrast": "diff"}, READY)
    assert manifest.images["contrast"].tolist() == ["diff"] * 3
    assert manifest.images[["condition", "cue"]].isna().all(axis=None)
    assert manifest.images["image"].tolist() == ["study/x", "study/y", "study/z"]


def test_a_column_can_name_the_contrast():
    table = pd.DataFrame(
        {
            "participant_id": list("aabbcc"),
            "what": ["diff", "other"] * 3,
            "file": list("uvwxyz"),
        }
    )
    columns = {"subject": "participant_id", "image": "file", "contrast": "what"}
    manifest = list_images(table, section(columns=columns), READY)
    assert manifest.images["contrast"].tolist() == ["diff", "other"] * 3


def test_runs_are_cells_of_their_own():
    table = cells(runs=("1", "2"))
    manifest = list_images(table, section(columns={**COLUMNS, "run": "run"}), PARTNER)
    assert manifest.of("01")["run"].tolist() == ["1", "2"] * 4
    found = faults(table, section())
    assert len(found) == 12
    assert found[0] == "sub-01 alone threat is listed 2 times (line 2, line 3)"


def test_templates_give_paths_from_the_table_folder():
    maps = section(
        columns={name: COLUMNS[name] for name in ("subject", "condition", "cue")},
        image_template="sub-{participant_id}/{who}_{cue}_con.nii",
        variance_template="sub-{participant_id}/{who}_{cue}_var.nii",
    )
    images = list_images(cells(), maps, PARTNER).images
    assert images["image"].iloc[1] == "study/sub-01/alone_safe_con.nii"
    assert images["variance"].iloc[1] == "study/sub-01/alone_safe_var.nii"


def test_a_template_with_a_blank_in_its_place_gives_no_path():
    table = cells().assign(session=["s1", *[np.nan] * 11])
    maps = section(
        columns={name: COLUMNS[name] for name in ("subject", "condition", "cue")},
        image_template="{session}.nii",
    )
    found = faults(table, maps)
    assert found == [f"line {line}: no image" for line in range(3, 14)]


@pytest.mark.parametrize("template", ["{who", "who}", "{}.nii", "{0}.nii"])
def test_a_template_that_names_no_column_is_refused(template):
    maps = section(image_template=template)
    with pytest.raises(StudyError, match=r"maps\.image_template"):
        list_images(cells(), maps, PARTNER)


def test_variance_and_tsnr_columns_are_paths_and_may_be_blank():
    table = cells().assign(v=["v.nii", *[np.nan] * 11], t="t.nii")
    maps = section(columns={**COLUMNS, "variance": "v", "tsnr": "t"})
    images = list_images(table, maps, PARTNER).images
    assert images["variance"].iloc[0] == "study/v.nii"
    assert images["variance"].iloc[1:].isna().all()
    assert set(images["tsnr"]) == {"study/t.nii"}


def test_the_words_of_the_table_become_ours():
    table = cells().replace({"alone": "ctrl", "threat": "shock"})
    rename = {"condition": {"ctrl": "alone"}, "cue": {"shock": "threat"}}
    manifest = list_images(table, section(rename=rename), PARTNER)
    assert set(manifest.images["condition"]) == {"alone", "partner"}
    assert set(manifest.images["cue"]) == {"threat", "safe"}


def test_sub_is_no_part_of_a_label():
    table = cells()
    table["participant_id"] = "sub-" + table["participant_id"]
    assert list_images(table, section(), PARTNER).subjects == ["01", "02", "03"]
    assert plain_subject("sub-sub-1") == "sub-1"
    assert plain_subject("resub-1") == "resub-1"


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_table_does_not_matter(seed):
    table = cells()
    shuffled = table.sample(frac=1, random_state=seed)
    before = list_images(table, section(), PARTNER).images
    after = list_images(shuffled, section(), PARTNER).images
    keys = ["subject", "condition", "cue"]
    pd.testing.assert_frame_equal(
        after.sort_values(keys, ignore_index=True),
        before.sort_values(keys, ignore_index=True),
    )


def test_the_table_is_not_changed():
    table = cells()
    before = table.copy()
    list_images(table, section(rename={"condition": {"x": "y"}, "cue": {}}), PARTNER)
    pd.testing.assert_frame_equal(table, before)


# --- Who is left out, and that it is counted ----------------------------------------------


def test_an_excluded_person_is_counted_with_the_reason():
    table = cells(("01", "02", "03", "04", "05", "06"))
    words = {"01": "moved", "02": np.nan, "03": "0", "04": "No", "05": "FALSE"}
    table["drop"] = table["participant_id"].map(words)
    manifest = list_images(table, section(exclude_column="drop"), PARTNER)
    assert manifest.subjects == ["02", "03", "04", "05", "06"]
    assert manifest.excluded.to_dict("records") == [
        {
            "subject": "01",
            "what": "subject",
            "n": 4,
            "reason": "moved (column drop)",
        }
    ]


def test_one_marked_row_excludes_the_person():
    table = cells(("01", "02", "03", "04"))
    table.loc[2, "drop"] = "fell asleep"
    table.loc[0, "file"] = np.nan  # a fault of a person who is excluded is none
    manifest = list_images(table, section(exclude_column="drop"), PARTNER)
    assert manifest.subjects == ["02", "03", "04"]
    assert manifest.excluded["n"].tolist() == [4]


def test_other_groups_are_excluded_and_counted():
    table = cells(("01", "02", "03", "04"))
    table["group"] = np.where(table["participant_id"] == "02", "patient", "control")
    manifest = list_images(table, section(include={"group": ["control"]}), PARTNER)
    assert manifest.subjects == ["01", "03", "04"]
    assert manifest.excluded.to_dict("records") == [
        {
            "subject": "02",
            "what": "subject",
            "n": 4,
            "reason": "group is not control (maps.include)",
        }
    ]


def test_rows_of_another_session_exclude_nobody():
    first, second = cells(), cells()
    second["file"] = "later/" + second["file"]
    table = pd.concat([first.assign(visit="1"), second.assign(visit="2")])
    table = table.reset_index(drop=True)
    manifest = list_images(table, section(include={"visit": ["2"]}), PARTNER)
    assert manifest.excluded_subjects == []
    assert manifest.excluded[["what", "n"]].to_numpy().tolist() == [["image", 4]] * 3
    assert manifest.images["image"].str.startswith("study/later/").all()
    assert len(manifest.images) == 12


def test_a_group_that_nobody_is_in_leaves_too_few():
    table = cells().assign(group="control")
    with pytest.raises(StudyError, match=r"leaves 0 subjects \(3 excluded\)"):
        list_images(table, section(include={"group": ["Control"]}), PARTNER)


@pytest.mark.parametrize(("n", "enough"), [(2, False), (3, True)])
def test_three_people_are_the_fewest(n, enough):
    table = cells(("01", "02", "03")[:n])
    if enough:
        assert len(list_images(table, section(), PARTNER).subjects) == n
    else:
        with pytest.raises(StudyError, match=r"leaves 2 subjects .* at least 3"):
            list_images(table, section(), PARTNER)


# --- Faults, all at once ------------------------------------------------------------------


def test_all_faults_are_listed_at_once():
    table = cells(("01", "02", "03", "04"))
    table.loc[0, "participant_id"] = np.nan
    table.loc[1, "file"] = np.nan
    table.loc[4, "cue"] = "shock"
    table.loc[9, "file"] = table.loc[8, "file"]
    table = pd.concat([table, table.iloc[[12]]], ignore_index=True)
    assert faults(table, section()) == [
        "line 2: no subject",
        "line 3: no image",
        "the cue shock (1 rows) is not threat or safe; "
        "map the table's words with maps.rename.cue",
        "sub-04 alone threat is listed 2 times (line 14, line 18)",
        "study/03/alone_threat.nii.gz is listed for "
        "sub-03 alone threat, sub-03 alone safe",
        "sub-01 has no image for alone threat (needed by contrasts)",
        "sub-02 has no image for alone threat (needed by contrasts)",
    ]


@pytest.mark.parametrize("column", ["who", "cue"])
def test_a_row_that_names_half_a_cell_is_a_fault(column):
    # an image more than the contrasts need: nothing else would miss it
    table = pd.concat([cells(), cells().iloc[[0]]], ignore_index=True)
    table.loc[12, ["file", column]] = ["extra.nii", np.nan]
    named = {"who": "condition", "cue": "cue"}[column]
    assert faults(table, section()) == [f"line 14: no {named}"]


def test_a_row_without_its_contrast_is_a_fault():
    table = pd.DataFrame(
        {
            "participant_id": list("aabc"),
            "file": list("wxyz"),
            "what": ["diff", np.nan, "diff", "diff"],
        }
    )
    columns = {"subject": "participant_id", "image": "file", "contrast": "what"}
    assert faults(table, section(columns=columns), READY) == ["line 3: no contrast"]


def test_sub_and_no_sub_are_the_same_person():
    table = cells()
    table.loc[4, "participant_id"] = "sub-01"
    found = faults(table, section())
    assert "sub-01 alone threat is listed 2 times (line 2, line 6)" in found
    assert "sub-02 has no image for alone threat (needed by contrasts)" in found


def test_two_people_cannot_share_an_image_however_its_path_is_written():
    table = cells()
    table.loc[4, "file"] = "./01//alone_threat.nii.gz"
    assert faults(table, section()) == [
        "study/01/alone_threat.nii.gz is listed for "
        "sub-01 alone threat, sub-02 alone threat"
    ]


def test_contrasts_say_what_everybody_needs():
    table = pd.DataFrame({"participant_id": list("abc"), "file": list("xyz")})
    maps = section(columns={"subject": "participant_id", "image": "file"})
    assert faults(table, {**maps, "contrast": "dif"}, READY) == [
        "no row has diff (needed by contrasts); the table has dif"
    ]


def test_a_cell_that_nobody_has_is_one_fault_and_one_persons_is_another():
    table = cells().replace({"partner": "partnr"})
    table = table.drop(index=0)
    there = "alone safe, alone threat, partnr safe, partnr threat"
    assert faults(table, section()) == [
        f"no row has partner safe (needed by contrasts); the table has {there}",
        f"no row has partner threat (needed by contrasts); the table has {there}",
        "sub-01 has no image for alone threat (needed by contrasts)",
    ]


def test_an_image_named_by_its_header_is_the_image():
    table = cells().assign(v="v.hdr", t="t.HDR.nii")
    table["file"] = table["file"].str.replace(".nii.gz", ".hdr")
    columns = {**COLUMNS, "variance": "v", "tsnr": "t"}
    images = list_images(table, section(columns=columns), PARTNER).images
    assert images["image"].iloc[0] == "study/01/alone_threat.img"
    assert images["image"].str.endswith(".img").all()
    assert set(images["variance"]) == {"study/v.img"}
    assert set(images["tsnr"]) == {"study/t.HDR.nii"}
    # one pair, named by either of its files, is one image
    table.loc[4, "file"] = "01/alone_threat.img"
    assert faults(table, section()) == [
        "study/01/alone_threat.img is listed for "
        "sub-01 alone threat, sub-02 alone threat"
    ]


def test_rows_without_a_subject_that_are_left_out_are_counted():
    table = pd.concat([cells(), cells().iloc[:2]], ignore_index=True)
    table["group"] = ["control"] * 12 + ["phantom"] * 2
    table.loc[12:, "participant_id"] = np.nan
    manifest = list_images(table, section(include={"group": ["control"]}), PARTNER)
    assert manifest.subjects == ["01", "02", "03"]
    assert manifest.excluded.to_dict("records") == [
        {
            "subject": "n/a",
            "what": "image",
            "n": 2,
            "reason": "group is not control (maps.include)",
        }
    ]
    assert manifest.excluded_subjects == []


def test_every_absent_column_is_named_with_its_key():
    maps = section(
        columns={**COLUMNS, "run": "session"},
        include={"group": ["control"]},
        exclude_column="drop",
        image_template="{nothing}/{nowhere}.nii",
    )
    with pytest.raises(StudyError) as caught:
        list_images(cells(), maps, PARTNER)
    for part in (
        "session (maps.columns.run)",
        "group (maps.include.group)",
        "drop (maps.exclude_column)",
        "nothing (maps.image_template)",
        "nowhere (maps.image_template)",
        "it has participant_id, who, cue, run, file",
    ):
        assert part in str(caught.value)


def test_every_missing_file_is_named(tmp_path):
    for name in ("a.img", "a.hdr", "b.img", "c.nii.gz"):
        (tmp_path / name).touch()
    (tmp_path / "d.nii").mkdir()
    names = ["a.img", "b.img", "c.nii.gz", "d.nii", "e.nii"]
    images = pd.DataFrame(
        {
            "subject": list("12345"),
            "image": [str(tmp_path / name) for name in names],
            "variance": [np.nan, None, str(tmp_path / "v.nii"), np.nan, np.nan],
            "tsnr": np.nan,
        }
    )
    with pytest.raises(StudyError, match=r"^4 image files") as caught:
        require_files(images)
    for line in ("2: {}/b.img", "3: {}/v.nii", "4: {}/d.nii", "5: {}/e.nii"):
        assert f"  - sub-{line.format(tmp_path)}\n" in str(caught.value)
    require_files(images[images["subject"] == "1"])


def test_a_resolved_configuration_is_what_list_images_takes():
    config = {
        "study": "s",
        "title": "t",
        "source": "maps",
        "unit": "a.u.",
        "seed": 1,
        "maps": {"table": "study/images.tsv", "columns": COLUMNS},
        "contrasts": PARTNER,
        "receptors": {"target": "MOR"},
    }
    resolved = spec.resolve(config)
    assert list_images(cells(), resolved["maps"], resolved["contrasts"]).subjects


# --- Labels as file names -------------------------------------------------------------------

HOSTILE = [
    "01",
    "a b",
    "a_b",
    "ab",
    "a/b",
    "../../etc",
    "..",
    "",
    "a\nb",
    "ab\n",
    "é",
    "e\u0301",
    "{label}",
    "*",
    "x" * 300,
    "x" * 299,
    "٣",
]


def test_hostile_labels_make_safe_and_different_file_names():
    labels = [file_label(subject) for subject in HOSTILE]
    assert len(set(labels)) == len(HOSTILE)
    for label in labels:
        assert label
        assert set(label) <= set(string.ascii_letters + string.digits)
        assert len(label) <= 64


@pytest.mark.parametrize("subject", ["01", "A7b", "x" * 40])
def test_a_bids_label_is_its_own_file_name(subject):
    assert file_label(subject) == subject


@given(one=st.text(max_size=8), other=st.text(max_size=8))
def test_different_labels_have_different_file_names(one, other):
    assert (file_label(one) == file_label(other)) == (one == other)


def test_contrasts_name_their_cells_in_order():
    contrasts = [
        {"name": "a", "baseline": "alone", "held": "partner"},
        {"name": "b", "baseline": "stranger", "held": "partner"},
    ]
    assert cells_of(contrasts) == [
        *(("alone", "threat"), ("alone", "safe"), ("partner", "threat")),
        *(("partner", "safe"), ("stranger", "threat"), ("stranger", "safe")),
    ]
