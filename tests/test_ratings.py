import numpy as np
import pandas as pd
import pytest

from handhold import study
from handhold.correlation import pearson
from handhold.errors import StudyError
from handhold.estimate import one_sample
from handhold.ratings import RELIEF, list_unscanned, relief, relieve, relieve_repeats
from handhold.sources import Manifest

PEOPLE = ["01", "02", "03"]
PARTNER = {"name": "partner", "baseline": "alone", "held": "partner"}
STRANGER = {"name": "stranger", "baseline": "alone", "held": "stranger"}
OVER = {"name": "partner_over_stranger", "baseline": "stranger", "held": "partner"}
READY = {"name": "ready", "image": "diff", "direction": "baseline_minus_held"}
BASE = {"table": "study/ratings.tsv", "subject": "id", "higher_is": "more_unpleasant"}
WIDE = {**BASE, "wide": {"alone": "r_alone", "partner": "r_partner"}}
LONG = {**BASE, "long": {"condition": "who", "rating": "score"}}
DIFFERENCE = {**BASE, "relief": {"ready": "drop"}}

# unpleasantness of three people, alone and held; the third feels worse held
ALONE, HELD = [60.0, 45.5, 30.0], [20.0, 45.5, 55.0]


def wide_table():
    return pd.DataFrame(
        {
            "id": PEOPLE,
            "r_alone": [f"{score}" for score in ALONE],
            "r_partner": [f"{score}" for score in HELD],
        }
    )


def long_table():
    rows = [
        (subject, who, str(score))
        for who, scores in (("alone", ALONE), ("partner", HELD))
        for subject, score in zip(PEOPLE, scores, strict=True)
    ]
    return pd.DataFrame(rows, columns=["id", "who", "score"])


def ready_table(drops=("40", "0", "-25")):
    return pd.DataFrame({"id": PEOPLE, "drop": drops})


def run(table, ratings, contrasts=(PARTNER,), **changes):
    options = {"excluded": [], "rename": {}, "source": "maps", **changes}
    subjects = options.pop("subjects", PEOPLE)
    return relieve(table, ratings, list(contrasts), subjects, **options)


def faults(*arguments, **changes):
    with pytest.raises(StudyError) as caught:
        run(*arguments, **changes)
    assert "study/ratings.tsv (ratings.table)" in str(caught.value)
    return [line[4:] for line in str(caught.value).splitlines() if line[:3] == "  -"]


# --- The sign --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("higher_is", "expected"),
    [("more_unpleasant", 40.0), ("more_relief", -40.0)],
)
def test_relief_is_positive_where_holding_helped(higher_is, expected):
    assert relief(pd.Series([60.0]), pd.Series([20.0]), higher_is).item() == expected


@pytest.mark.parametrize(
    ("table", "ratings"), [(wide_table(), WIDE), (long_table(), LONG)], ids="wl"
)
def test_relief_is_the_drop_in_unpleasantness(table, ratings):
    found = run(table, ratings)
    assert list(found) == RELIEF
    assert found["subject"].tolist() == PEOPLE
    assert found["relief"].tolist() == [60.0 - 20.0, 0.0, 30.0 - 55.0]
    assert found["baseline"].tolist() == ALONE
    assert found["held"].tolist() == HELD
    turned = run(table, {**ratings, "higher_is": "more_relief"})
    assert turned["relief"].tolist() == [-40.0, 0.0, 25.0]
    assert turned["baseline"].tolist() == ALONE


def test_a_ready_made_difference_is_turned_where_it_says_the_opposite():
    found = run(ready_table(), {**DIFFERENCE, "higher_is": "more_relief"}, [READY])
    assert found["relief"].tolist() == [40, 0, -25]
    assert found[["baseline", "held"]].isna().all(axis=None)
    # higher is more unpleasant: the column holds held minus baseline
    turned = run(ready_table(), DIFFERENCE, [READY])
    assert turned["relief"].tolist() == [-40, 0, 25]


def test_partner_over_stranger_compares_the_two_hands():
    table = wide_table().assign(r_stranger=["50", "40", "10"])
    ratings = {**BASE, "wide": {**WIDE["wide"], "stranger": "r_stranger"}}
    found = run(table, ratings, [PARTNER, STRANGER, OVER]).set_index("contrast")
    assert found.loc["partner", "relief"].tolist() == [40, 0, -25]
    assert found.loc["stranger", "relief"].tolist() == [10, 5.5, 20]
    assert found.loc["partner_over_stranger", "relief"].tolist() == [30, -5.5, -45]


# --- Joined by label -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_joined_by_person_and_never_by_place(seed):
    for table, ratings in ((wide_table(), WIDE), (long_table(), LONG)):
        shuffled = table.sample(frac=1, random_state=seed)
        pd.testing.assert_frame_equal(run(shuffled, ratings), run(table, ratings))
    found = run(wide_table(), WIDE, subjects=["03", "01", "02"])
    assert found["subject"].tolist() == ["03", "01", "02"]
    assert found["relief"].tolist() == [-25, 40, 0]


def test_sub_is_no_part_of_a_label_and_zeros_are():
    table = wide_table()
    table["id"] = "sub-" + table["id"]
    assert run(table, WIDE)["subject"].tolist() == PEOPLE
    table["id"] = ["1", "2", "3"]
    assert faults(table, WIDE)[0] == (
        "sub-1 has a rating but no image (sub-01 has an image but no rating: the same?)"
    )


def test_the_words_of_a_long_table_become_ours():
    table = long_table().replace({"alone": "ctrl"})
    found = run(table, LONG, rename={"ctrl": "alone"})
    assert found["relief"].tolist() == [40, 0, -25]


def test_conditions_that_no_contrast_needs_do_not_matter():
    table = long_table()
    other = pd.DataFrame({"id": ["01"], "who": ["rest"], "score": ["none"]})
    found = run(pd.concat([table, other], ignore_index=True), LONG)
    assert found["relief"].tolist() == [40, 0, -25]


def test_excluded_people_are_ignored_faults_and_all():
    stranger = pd.DataFrame(
        {"id": ["sub-09", "09"], "r_alone": ["x", np.nan], "r_partner": ["1", "2"]}
    )
    table = pd.concat([wide_table(), stranger], ignore_index=True)
    found = run(table, WIDE, excluded=["09"])
    assert found["subject"].tolist() == PEOPLE


def unscanned(table, ratings, excluded=(), source="bids"):
    return (
        list_unscanned(
            table,
            ratings,
            [PARTNER],
            PEOPLE,
            excluded=list(excluded),
            rename={},
            source=source,
        )
        .to_numpy()
        .tolist()
    )


def test_who_was_rated_and_not_scanned_is_counted():
    added = pd.DataFrame(
        {
            "id": ["sub-09", "09", "07", "08"],
            "r_alone": ["x", "3", "5", np.nan],
            "r_partner": ["1", "2", np.nan, np.nan],
        }
    )
    table = pd.concat([wide_table(), added], ignore_index=True)
    # what is wrong with their ratings is nobody's concern
    pd.testing.assert_frame_equal(run(table, WIDE), run(wide_table(), WIDE))
    expected = [
        ["09", "rating", 4, "rated, but no BOLD"],
        ["07", "rating", 1, "rated, but no BOLD"],
    ]
    assert unscanned(table, WIDE) == expected
    assert unscanned(table, WIDE, excluded=["09"]) == expected[1:]
    (row,) = unscanned(table, WIDE, excluded=["09"], source="maps")
    assert row[-1] == "rated, but no image"
    assert unscanned(long_table(), LONG) == []


def test_who_was_rated_and_not_scanned_is_among_the_exclusions_of_the_study():
    table = pd.concat([wide_table(), wide_table().replace("01", "08")[:1]])
    config = {
        "bids": {},
        "ratings": WIDE,
        "contrasts": [PARTNER],
        "maps": {"rename": {"condition": {}}},
    }
    images = pd.DataFrame({"subject": PEOPLE})
    excluded = pd.DataFrame(columns=["subject", "what", "n", "reason"])
    manifest = Manifest(images, excluded)
    source = study.Source(config, manifest, study.NO_RUNS, table)
    counted = study._with_unscanned(source)
    assert counted.excluded.to_numpy().tolist() == [
        ["08", "rating", 2, "rated, but no BOLD"]
    ]
    assert counted.excluded_subjects == []
    assert study._rated(source) == ("partner",)


@pytest.mark.parametrize("label", ["3", "sub-003", "SUB_03", " 03", "sub-sub-03"])
def test_a_misspelled_label_is_no_unscanned_person(label):
    table = wide_table().replace("03", label)
    assert faults(table, WIDE) == [
        f"sub-{label.removeprefix('sub-')} has a rating but no image (sub-03 has an image but no "
        "rating: the same?)",
        "sub-03 has an image but no rating for alone",
        "sub-03 has an image but no rating for partner",
    ]


def test_a_label_is_like_no_one_who_was_rated():
    table = wide_table().replace("03", "1")
    assert faults(table, WIDE)[0] == "sub-1 has a rating but no image"


def test_advice_names_the_keys_that_the_source_has():
    table = long_table().query("id != '03'").replace({"partner": "spouse"})
    for source, keys, others in (
        ("maps", ("maps.exclude_column", "maps.rename.condition"), "bids."),
        ("bids", ("bids.exclude", "write the words of contrasts"), "maps."),
    ):
        with pytest.raises(StudyError) as caught:
            run(table, LONG, source=source)
        assert all(key in str(caught.value) for key in keys)
        assert others not in str(caught.value)


def test_contrasts_without_ratings_are_absent():
    found = run(wide_table(), WIDE, [STRANGER, PARTNER, READY])
    assert set(found["contrast"]) == {"partner"}
    # no row of the long table is of a condition that no contrast has
    found = run(long_table(), LONG, [STRANGER, PARTNER, READY])
    assert set(found["contrast"]) == {"partner"}
    assert faults(long_table(), LONG, [STRANGER, READY]) == [
        "the contrast stranger has no ratings of stranger, while the table rates partner: map "
        "the words with maps.rename.condition, or remove those rows",
        "no contrast has its ratings; compare contrasts with the section ratings",
    ]
    alone = long_table().query("who == 'alone'")
    assert faults(alone, LONG, [STRANGER, READY]) == [
        "no contrast has its ratings; compare contrasts with the section ratings"
    ]


def test_a_word_of_no_contrast_beside_a_contrast_without_ratings_is_a_fault():
    other = long_table().query("who == 'partner'").replace({"partner": "strangr"})
    table = pd.concat([long_table(), other], ignore_index=True)
    assert faults(table, LONG, [PARTNER, STRANGER, READY]) == [
        "the contrast stranger has no ratings of stranger, while the table rates strangr: map "
        "the words with maps.rename.condition, or remove those rows"
    ]
    mended = run(table, LONG, [PARTNER, STRANGER], rename={"strangr": "stranger"})
    assert set(mended["contrast"]) == {"partner", "stranger"}
    # a word that is renamed is no stranger, even beside a contrast without ratings
    renamed = long_table().replace({"alone": "ctrl"})
    found = run(renamed, LONG, [PARTNER, STRANGER], rename={"ctrl": "alone"})
    assert set(found["contrast"]) == {"partner"}
    # where every contrast has its ratings, the word is of a condition that nobody asks for
    assert set(run(table, LONG, [PARTNER])["contrast"]) == {"partner"}


def test_a_condition_that_no_contrast_has_is_refused():
    misspelled = {**WIDE, "wide": {"alone": "r_alone", "partnr": "r_partner"}}
    assert "ratings.wide names the condition partnr, which no contrast has" in faults(
        wide_table(), misspelled
    )
    assert len(faults(ready_table(), DIFFERENCE, [PARTNER])) == 1


# --- Faults, all at once ------------------------------------------------------------------


def test_all_faults_are_listed_at_once():
    table = pd.DataFrame(
        [
            ("01", "5", "4"),
            ("01", "5", "4"),
            ("02", "five", "inf"),
            ("4x", "1", "one"),
            (np.nan, "2", "2"),
        ],
        columns=["id", "r_alone", "r_partner"],
    )
    assert faults(table, WIDE) == [
        "sub-4x has a rating but no image",
        "2 ratings have no subject",
        "sub-01 has 2 ratings for alone",
        "sub-01 has 2 ratings for partner",
        "sub-02: the rating 'five' for alone is not a number",
        "sub-02: the rating 'inf' for partner is not a number",
        "sub-03 has an image but no rating for alone",
        "sub-03 has an image but no rating for partner",
    ]


@pytest.mark.parametrize("word", ["1,5", "-inf", "1e999", "3/7", "0x10", "1_000", "~"])
def test_what_is_not_a_number_is_refused(word):
    table = wide_table()
    table.loc[1, "r_alone"] = word
    assert faults(table, WIDE) == [
        f"sub-02: the rating {word!r} for alone is not a number"
    ]


@pytest.mark.parametrize(("word", "value"), [("1e1", 10), ("-0.5", -0.5), ("+3", 3)])
def test_any_way_to_write_a_number_will_do(word, value):
    table = ready_table((word, "1", "2"))
    found = run(table, {**DIFFERENCE, "higher_is": "more_relief"}, [READY])
    assert found["relief"].iloc[0] == value


def test_a_blank_rating_is_missing_and_not_zero():
    table = wide_table()
    table["r_partner"] = np.nan
    assert faults(table, WIDE) == [
        f"sub-{subject} has an image but no rating for partner" for subject in PEOPLE
    ]


def test_a_long_table_that_lacks_one_cell_names_it():
    assert faults(long_table().iloc[:-1], LONG) == [
        "sub-03 has an image but no rating for partner"
    ]


def test_every_absent_column_is_named_with_its_key():
    with pytest.raises(StudyError) as caught:
        run(long_table(), {**WIDE, "subject": "person"})
    for part in (
        "person (ratings.subject)",
        "r_alone (ratings.wide.alone)",
        "r_partner (ratings.wide.partner)",
        "it has id, who, score",
    ):
        assert part in str(caught.value)


def test_the_table_is_not_changed():
    table = long_table()
    table["id"] = "sub-" + table["id"]
    before = table.copy()
    run(table, LONG)
    pd.testing.assert_frame_equal(table, before)


# --- Ratings that were repeated ---------------------------------------------------------


REPEATED = {**BASE, "long": {"condition": "who", "rating": "score", "repeat": "run"}}


def repeated_table(shifts=(-5.0, 5.0)):
    """Return every rating once per run, moved by `shifts`, whose mean is zero."""
    pieces = [
        long_table().assign(
            run=str(i + 1),
            score=lambda rows, by=shift: rows["score"].astype(float) + by,
        )
        for i, shift in enumerate(shifts)
    ]
    return pd.concat(pieces, ignore_index=True).astype({"score": str})


def test_repeated_ratings_are_averaged():
    found = run(repeated_table(), REPEATED)
    expected = run(long_table(), LONG)
    pd.testing.assert_frame_equal(found, expected)


def test_repeats_are_dealt_in_turn():
    table = repeated_table()
    late = (table["run"] == "2") & (table["who"] == "partner")
    table.loc[late, "score"] = [str(score - 1) for score in HELD]
    options = {"excluded": [], "rename": {}, "source": "maps"}
    found = relieve_repeats(table, REPEATED, [PARTNER], PEOPLE, **options)
    wide = found.pivot(index="subject", columns="repeat", values="relief")
    drop = np.subtract(ALONE, HELD)
    assert wide[1].tolist() == pytest.approx(drop)  # the shift of a run cancels
    assert wide[2].tolist() == pytest.approx(drop + 6)
    once = relieve_repeats(long_table(), LONG, [PARTNER], PEOPLE, **options)
    assert once["repeat"].tolist() == [1, 1, 1]
    assert once["relief"].tolist() == pytest.approx(drop)


def test_faults_of_repeated_ratings():
    table = repeated_table()
    table.loc[0, "score"] = np.nan
    table.loc[7, "run"] = "1"
    assert faults(table, REPEATED) == [
        "sub-02 has 2 ratings for alone, repeat 1",
        "sub-01: the rating for alone, repeat 1, is blank; remove the row to average the "
        "others",
    ]
    assert "ratings.long.repeat tells them apart" in faults(repeated_table(), LONG)[0]


@pytest.fixture
def handholding(shared_data):
    """Load 30 women x 16 painful stimuli, held and not (Lopez-Sola et al. 2019)."""
    path = shared_data / "handholding_ratings" / "lopezsola2019_events.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    return pd.read_csv(path, dtype=str)


def test_published_relief_by_hand_holding(handholding):
    ratings = {
        "table": "lopezsola2019_events.csv",
        "subject": "subject",
        "higher_is": "more_unpleasant",
        "long": {"condition": "handholding", "rating": "rating", "repeat": "overallN"},
    }
    people = list(dict.fromkeys(handholding["subject"]))
    words = {"0.0": "alone", "1.0": "partner"}
    arguments = (handholding, ratings, [PARTNER], people)
    table = relieve(*arguments, excluded=[], rename=words, source="maps")
    found = one_sample(table["relief"].to_numpy(), level=0.95, smallest_dz=0.3)
    # The paper: reduction 2.95, t(29) = 2.17, p = .038.
    assert (found.n, found.df) == (30, 29)
    assert round(found.mean, 2) == 2.95
    assert round(found.t, 2) == 2.17
    assert round(found.p_t, 3) == 0.038
    repeats = relieve_repeats(*arguments, excluded=[], rename=words, source="maps")
    assert repeats["repeat"].max() == 8
    mean = repeats.groupby("subject")["relief"].mean()[people]
    assert pearson(mean, table["relief"]) == pytest.approx(1)
