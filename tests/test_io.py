import numpy as np
import pandas as pd
import pytest

from handhold import io
from handhold.errors import StudyError
from handhold.regions import Cloud


def written(folder, content, name="table.tsv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- Tables of others: read as text, refused where that would be a guess ----------------


@pytest.mark.parametrize(
    "content",
    [
        b"participant_id\tscore\n01\t2.5\n",
        b"participant_id\tscore\r\n01\t2.5\r\n",
        b"participant_id\tscore\r01\t2.5\r",
        b"\xef\xbb\xbfparticipant_id\tscore\n01\t2.5\n",
        b"participant_id\tscore\n01\t2.5",
        b" participant_id \t score\n 01 \t2.5 \n",
        b"\nparticipant_id\tscore\n\n01\t2.5\n\n",
        b'"participant_id"\t"score"\n"01"\t"2.5"\n',
    ],
    ids=["unix", "crlf", "cr", "bom", "no last line end", "spaces", "blank", "quotes"],
)
def test_what_editors_do_to_a_table_does_not_change_it(tmp_path, content):
    table = io.read_table(written(tmp_path, content), "maps.table")
    assert table.to_dict("list") == {"participant_id": ["01"], "score": ["2.5"]}


def test_the_suffix_settles_the_separator(tmp_path):
    commas = written(tmp_path, 'a,b\n"Oslo, Norway",2\n', "table.CSV")
    assert io.read_table(commas, "maps.table").to_dict("list") == {
        "a": ["Oslo, Norway"],
        "b": ["2"],
    }
    tabs = written(tmp_path, "a\tb\nOslo, Norway\t2\n", "table.txt")
    assert io.read_table(tabs, "maps.table")["a"].tolist() == ["Oslo, Norway"]
    mistaken = written(tmp_path, "a,b\n1,2\n", "table.tsv")
    assert list(io.read_table(mistaken, "maps.table")) == ["a,b"]


@pytest.mark.parametrize("blank", ["", "  ", *sorted(io.MISSING)])
def test_blanks_and_their_words_are_missing(tmp_path, blank):
    table = io.read_table(written(tmp_path, f"a\tb\n1\t{blank}\n"), "maps.table")
    assert table["b"].isna().all()
    assert table["a"].tolist() == ["1"]


def test_zeros_and_negatives_are_not_missing(tmp_path):
    table = io.read_table(written(tmp_path, "a\n0\n-1\nno\nnone\n"), "maps.table")
    assert table["a"].tolist() == ["0", "-1", "no", "none"]


def test_labels_keep_their_leading_zeros(tmp_path):
    table = io.read_table(written(tmp_path, "id\n007\n1e3\n1.0\nTrue\n"), "maps.table")
    assert table["id"].tolist() == ["007", "1e3", "1.0", "True"]


def test_a_row_cut_short_ends_in_missing_values(tmp_path):
    table = io.read_table(written(tmp_path, "a\tb\n1\n2\t3\n"), "maps.table")
    assert table["b"].isna().tolist() == [True, False]
    assert table["b"].iloc[1] == "3"


@pytest.mark.parametrize("content", ["a\tb\n", "a\tb", "a\tb\n\n"])
def test_a_header_alone_is_no_table(content, tmp_path):
    path = written(tmp_path, content)
    with pytest.raises(StudyError, match="a header and no rows") as caught:
        io.read_table(path, "maps.table")
    assert f"{path} (maps.table)" in str(caught.value)
    assert len(io.read_table(written(tmp_path, "a\tb\n1\t2\n"), "maps.table")) == 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("a\tb\n1\t2\n".encode("utf-16"), "UTF-8"),
        ("a\tb\n1\t2\n".encode("utf-16-le"), "UTF-8"),
        ("a\tb\nBjörn\t2\n".encode("latin-1"), "UTF-8"),
        (b"", "No columns"),
        (b"\n\n", "No columns"),
        (b"a\tb\n1\t2\t3\n", "saw 3"),
        (b'a\tb\n"1\t2\n', "inside string"),
        (b"a\tb\ta\n1\t2\t3\n", "column a more than once"),
        (b"a\ta \n1\t2\n", "column a more than once"),
        (b"a\t\t\n1\t2\t3\n", "column without a name more than once"),
    ],
    ids=[
        "UTF-16",
        "UTF-16 without mark",
        "latin 1",
        "empty",
        "blank lines",
        "long row",
        "open quote",
        "column twice",
        "column twice but for a space",
        "columns without a name",
    ],
)
def test_a_table_that_is_not_one_is_refused(tmp_path, content, fault):
    path = written(tmp_path, content)
    with pytest.raises(StudyError, match=fault) as caught:
        io.read_table(path, "ratings.table")
    assert str(path) in str(caught.value)
    assert "ratings.table" in str(caught.value)


@pytest.mark.parametrize("place", ["absent.tsv", "."])
def test_a_missing_table_is_named_with_its_key(tmp_path, place):
    with pytest.raises(StudyError, match=r"does not exist \(maps\.table\)"):
        io.read_table(tmp_path / place, "maps.table")


# --- Our own tables ----------------------------------------------------------------------

HOSTILE = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.123456789]


def test_numbers_come_back_exactly(tmp_path, rng):
    drawn = rng.standard_normal(2000) * 10.0 ** rng.integers(-300, 300, 2000)
    values = np.concatenate([HOSTILE, drawn, [np.nan]])
    io.write_results(pd.DataFrame({"effect": values}), tmp_path / "t.tsv")
    back = io.read_results(tmp_path / "t.tsv")["effect"].to_numpy()
    assert np.array_equal(back.view(np.int64), values.view(np.int64))


def test_text_flags_and_missing_values_come_back(tmp_path):
    table = pd.DataFrame(
        {
            "subject": ["007", "NA", "a\tb\nc"],
            "region": ["x", None, "insula"],
            "used": [True, False, True],
            "effect": [1.0, np.nan, -np.inf],
        }
    )
    before = table.copy()
    io.write_results(table, tmp_path / "t.tsv")
    pd.testing.assert_frame_equal(table, before)
    back = io.read_results(tmp_path / "t.tsv")
    assert back["subject"].tolist() == ["007", "NA", "a b c"]
    assert back["region"].isna().tolist() == [False, True, False]
    assert back["used"].tolist() == [True, False, True]
    assert back["used"].dtype == bool
    assert back["effect"].tolist()[0] == 1
    assert np.isnan(back["effect"].iloc[1])
    assert back["effect"].iloc[2] == -np.inf
    lines = (tmp_path / "t.tsv").read_bytes().decode().split("\n")
    assert lines[2] == "NA\tn/a\tfalse\tn/a"
    assert len(lines) == 5


def test_a_table_of_no_rows_comes_back(tmp_path):
    table = pd.DataFrame({"subject": [], "effect": [], "used": []})
    io.write_results(table, tmp_path / "t.tsv")
    back = io.read_results(tmp_path / "t.tsv")
    assert list(back) == ["subject", "effect", "used"]
    assert back.empty


def test_the_sidecar_explains_every_column(tmp_path):
    kinds = io.column_kinds()
    table = pd.DataFrame({name: [np.nan] for name in kinds})
    io.write_results(table, tmp_path / "t.tsv")
    sidecar = io.read_json(tmp_path / "t.json")
    assert list(sidecar) == list(kinds)
    assert all(meaning["Description"].strip() for meaning in sidecar.values())
    assert sidecar["coverage"]["Units"] == "proportion"
    assert {entry["kind"] for entry in kinds.values()} == {"number", "text", "flag"}


def test_a_column_that_nothing_explains_is_refused_before_writing(tmp_path):
    with pytest.raises(KeyError, match="mystery"):
        io.write_results(pd.DataFrame({"mystery": [1]}), tmp_path / "t.tsv")
    assert not list(tmp_path.iterdir())


def test_the_same_content_gives_the_same_bytes(tmp_path, monkeypatch):
    arrays = {"r": np.arange(5.0), "names": np.array(["a", "b"])}
    io.write_arrays(arrays, tmp_path / "one.npz")
    monkeypatch.setattr("time.time", lambda: 2e9)
    io.write_arrays(arrays, tmp_path / "two.npz")
    assert io.checksum(tmp_path / "one.npz") == io.checksum(tmp_path / "two.npz")


def test_json_has_no_nan_and_no_numpy(tmp_path):
    content = {"a": np.float64("nan"), "b": [np.int64(2), np.bool_(True)], 3: np.inf}
    io.write_json({**content, "c": np.array([1.5, -np.inf])}, tmp_path / "t.json")
    assert io.read_json(tmp_path / "t.json") == {
        "a": None,
        "b": [2, True],
        "3": None,
        "c": [1.5, None],
    }


def test_a_cloud_comes_back(tmp_path, rng):
    names = {name: rng.random(4) for name in Cloud.__dataclass_fields__}
    cloud = Cloud(**{**names, "names": ("vACC", "insula")})
    io.write_cloud(cloud, tmp_path / "cloud.npz")
    back = io.read_cloud(tmp_path / "cloud.npz")
    assert back.names == cloud.names
    for name in set(names) - {"names"}:
        assert np.array_equal(getattr(back, name), getattr(cloud, name))


# --- Whole or not at all ---------------------------------------------------------------


def test_an_exception_leaves_neither_file_nor_temporary(tmp_path):
    def interrupted():
        with io.replacing(tmp_path / "t.tsv") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_an_exception_leaves_the_former_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "t.tsv"
    io.write_results(pd.DataFrame({"effect": [1.0]}), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(self, file, **_):
        file.write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(OSError, match="No space"):
        io.write_results(pd.DataFrame({"effect": [2.0]}), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "write",
    [
        lambda path: io.write_json({"a": object()}, path),
        lambda path: io.write_arrays({"a": np.array([object()])}, path),
        lambda path: io.write_text(None, path),
    ],
    ids=["json", "arrays", "text"],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, write):
    with pytest.raises((TypeError, ValueError)):
        write(tmp_path / "new" / "t")
    assert not list((tmp_path / "new").iterdir())
