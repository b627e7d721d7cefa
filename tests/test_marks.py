"""Each mark of a figure says who it is, stands where its values are, and is there once."""

import warnings
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import results_tables as example
import statsmodels.api as sm

from handhold import (
    drawing,
    figures,
    figures_calibration,
    figures_quality,
    rates,
    svg,
    tables,
)

UNIT = "% signal change"
HOSTILE = "</title><script>alert('1')</script> \x07 & " + "x" * 300
LIMITS = {
    "warn_vif": 5,
    "max_vif": 10,
    "max_censored": 0.5,
    "warn_motion": 0.5,
    "warn_high_pass": 0.5,
}


def saved(figure):
    """Write a figure as SVG and read its marks back, a list for each group of marks."""
    root = ElementTree.fromstring(drawing.to_svg(figure))
    groups = [
        [mark for mark in group.iter() if mark.find(f"{svg.SVG}title") is not None]
        for group in root.iter(f"{svg.SVG}g")
        if (group.get("id") or "").startswith("marks-")
    ]
    return [group for group in groups if group]


def title(mark):
    return mark.find(f"{svg.SVG}title").text


def numbers(column):
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


def lines(axes, gid):
    return [line for line in axes.lines if (line.get_gid() or "").startswith(gid)]


def standing(marks, values, axis, sign):
    """Check that the places of marks go with the values that their names have in a table.

    On a linear axis places and values correlate perfectly, up to the hundredths of a point
    to which places are written; a name on the wrong mark breaks it.
    """
    places = [float(mark.get(axis)) for mark in marks]
    values = [
        values[mark.get("data-subject") or mark.get("data-label")] for mark in marks
    ]
    assert sign * np.corrcoef(places, values)[0, 1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("n", [3, 24, 200])
def test_a_raincloud_names_each_subject_once_and_where_it_stands(rng, n):
    attenuation = example.attenuation(rng, n, contrasts=("partner",))
    tests = example.attenuation_tests(attenuation, rng)
    figure = figures.draw_attenuation(attenuation, tests, UNIT)
    groups = saved(figure)
    assert len(groups) == len(example.ROIS)
    for marks, region in zip(groups, example.ROIS, strict=True):
        own = attenuation[attenuation["definition"] == "aal3"]
        own = own[(own["region"] == region) & (own["attenuation"] != "n/a")]
        values = dict(zip(own["subject"], numbers(own["attenuation"]), strict=True))
        assert [mark.get("data-subject") for mark in marks] == list(values)
        standing(marks, values, "y", -1)
        for mark in marks:
            subject = mark.get("data-subject")
            shown = tables.display(values[subject], "effect")
            assert title(mark).startswith(f"{subject}: attenuation {shown} {UNIT} (")
    clouds = [c for c in figure.axes[0].collections if "cloud" in (c.get_gid() or "")]
    assert len(clouds) == (0 if n < figures.SMALLEST_CLOUD else len(example.ROIS))


def test_a_cloud_reaches_from_the_lowest_to_the_highest_subject(rng):
    attenuation = example.attenuation(rng, rois=("insula",), contrasts=("partner",))
    tests = example.attenuation_tests(attenuation, rng)
    figure = figures.draw_attenuation(attenuation, tests, UNIT)
    own = attenuation[attenuation["definition"] == "aal3"]
    values = numbers(own["attenuation"])
    (cloud,) = figure.axes[0].collections
    x, y = cloud.get_paths()[0].vertices.T
    assert (y.min(), y.max()) == (np.nanmin(values), np.nanmax(values))
    # Between the mean and the next place; thickest where the subjects are.
    assert x.min() > figures.MEAN
    assert x.max() < 1 + figures.DOTS - figures.REACH
    assert abs(y[x.argmax()] - np.nanmedian(values)) < np.nanstd(values)


def tracked(rng, **changed):
    attenuation = example.attenuation(rng, contrasts=("partner",))
    relief = example.relief(rng, contrasts=("partner",))
    tests = example.tracking_tests(attenuation, rng).assign(**changed)
    return attenuation, relief, tests


def test_a_scatter_names_each_subject_with_both_values(rng):
    attenuation, relief, tests = tracked(rng)
    figure = figures.draw_tracking(attenuation, relief, tests, unit=UNIT)
    groups = saved(figure)
    assert len(groups) == len(example.ROIS)
    own = attenuation.head(24).merge(relief, on="subject")
    own = own[own["attenuation"] != "n/a"].set_index("subject")
    assert [mark.get("data-subject") for mark in groups[0]] == list(own.index)
    for column, axis, sign in (("attenuation", "x", 1), ("relief", "y", -1)):
        values = pd.to_numeric(own[column])
        standing(groups[0], values, axis, sign)
    x, y = (
        tables.display(own.loc["05", c], "effect") for c in ("attenuation", "relief")
    )
    assert f"05: attenuation {x} {UNIT}, relief {y} (Ventral ACC, partner)" in [
        title(mark) for mark in groups[0]
    ]


def test_a_strip_has_the_numbers_of_its_row(rng):
    attenuation, relief, tests = tracked(
        rng, model="baseline-adjusted", partial_r="0.4321", partial_low="0.1",
        partial_high="0.7", p_partial="0.031", p_partial_fwe="0.077",
    )  # fmt: skip
    figure = figures.draw_tracking(attenuation, relief, tests, unit=UNIT)
    strip, scatter, row = figure.axes[0], figure.axes[4], tests.iloc[0]
    bounds = [float(row["low"]), float(row["high"])]
    assert list(lines(strip, "interval effect")[0].get_xdata()) == bounds
    left_out = [float(row["loo_low"]), float(row["loo_high"])]
    assert list(lines(strip, "loo")[0].get_xdata()) == left_out
    assert lines(strip, "estimate effect")[0].get_xdata() == [float(row["effect"])]
    assert lines(strip, "estimate partial_r")[0].get_xdata() == [0.4321]
    assert list(lines(strip, "interval partial_r")[0].get_xdata()) == [0.1, 0.7]
    spans = [p for p in strip.patches if p.get_gid() == "beyond the ceiling"]
    ends = [(p.get_x(), p.get_x() + p.get_width()) for p in spans]
    assert ends == [(-1, -0.81), (0.81, pytest.approx(1))]
    said = strip.get_title(loc="left")
    for value in (*left_out, 0.81, 0.4321):
        assert tables.display(value, "r") in said
    assert ".077" in said
    # The person whom the table names, and nobody else, has the ring.
    ring = lines(scatter, "most influential")[0].get_xydata()
    second = attenuation.iloc[1]
    assert second["subject"] == row["most_influential"]
    assert ring[:, 0] == [float(second["attenuation"])]


def test_the_band_is_that_of_a_regression(rng):
    attenuation, relief, tests = tracked(rng)
    figure = figures.draw_tracking(attenuation, relief, tests, unit=UNIT)
    scatter = figure.axes[4]
    x, y = lines(scatter, "subjects")[0].get_xydata().T
    (band,) = [a for a in scatter.artists + scatter.patches if a.get_gid() == "band"]
    along, edge = band.get_xy()[:100].T
    model = sm.OLS(y, sm.add_constant(x)).fit()
    expected = model.get_prediction(sm.add_constant(along[:50])).conf_int(alpha=0.05)
    np.testing.assert_allclose(edge[:50], expected[:, 0])
    np.testing.assert_allclose(edge[:49:-1], expected[:, 1])
    # People, not the band, set the axis.
    assert scatter.get_ylim()[1] < y.max() + 0.5 * np.ptp(y)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_scatter_of_few_people_is_drawn(rng, n):
    coupling, relief = example.coupling(rng, n), example.relief(rng, n)
    row = example.coupling_tests().iloc[0]
    groups = saved(figures.draw_coupling(coupling, relief, row))
    assert [len(group) for group in groups] == [n]
    assert title(groups[0][0]).startswith("01: fisher z ")


def test_parcels_and_maps_have_their_names(rng):
    structure = np.repeat(["cortex", "subcortex"], [30, 4])
    binding, group = rng.gamma(3, 0.4, 34), rng.normal(0, 1, 34)
    binding[7] = np.nan
    names = [f"parcel_{i}" for i in range(34)]
    figure = figures.draw_correspondence(
        binding, group, structure, {"moran": rng.normal(0, 0.1, 99)},
        example.correspondence_tests().iloc[0], regions=names, unit=UNIT,
    )  # fmt: skip
    marks = [mark for part in saved(figure) for mark in part]
    shown = [mark.get("data-label") for mark in marks]
    assert shown == [name for i, name in enumerate(names) if i != 7]
    standing(marks, dict(zip(names, binding, strict=True)), "x", 1)
    standing(marks, dict(zip(names, group, strict=True)), "y", -1)
    values = [tables.display(part[3], "effect") for part in (binding, group)]
    said = f"parcel_3: binding {values[0]}, attenuation {values[1]} {UNIT}"
    assert title(marks[3]) == said

    tests = example.specificity_tests(rng)
    tests.loc[2, "effect"] = "n/a"
    marks = [m for part in saved(figures.draw_panel(tests)) for m in part]
    drawn = tests.drop(index=2)
    assert [mark.get("data-label") for mark in marks] == list(drawn["label"])
    values = dict(zip(drawn["label"], numbers(drawn["effect"]), strict=True))
    standing(marks, values, "x", 1)
    assert all(
        tables.display(values[m.get("data-label")], "r") in title(m) for m in marks
    )


@pytest.mark.parametrize("n", [1, 200])
def test_cells_of_a_heat_map_have_subject_region_and_value(rng, n):
    rois = example.regions(rng, n)
    (marks,) = saved(figures_quality.draw_coverage(rois, 0.8))
    own = rois[rois["definition"] == "aal3"].assign(v=lambda t: numbers(t["coverage"]))
    worst = own.groupby(["region", "subject"], sort=False)["v"].min()
    expected = [
        (subject, drawing.roi_name({"region": roi}), tables.display(value, "r"))
        for (roi, subject), value in worst.items()
    ]
    found = [
        (m.get("data-subject"), m.get("data-label"), title(m).split()[-1])
        for m in marks
    ]
    assert found == expected


@pytest.mark.parametrize("n", [1, 200])
def test_every_run_has_its_name_and_value_in_every_panel(rng, n):
    review = example.runs(rng, n)
    review.loc[1, "mean_fd"] = "n/a"
    marks = [
        m for group in saved(figures_quality.draw_runs(review, LIMITS)) for m in group
    ]
    said = [(m.get("data-subject"), m.get("data-label"), title(m)) for m in marks]
    names = {"mean_fd": "mean FD (mm)", "censored": "censored"}
    expected = []
    for column in (measure.column for measure in figures_quality.MEASURES):
        name = names.get(column) or tables.LABELS[column].lower()
        for row in review[review[column] != "n/a"].to_dict("records"):
            value = tables.display(row[column], tables.kind_of(column))
            run = f"run {row['run']}"
            words = f"{row['subject']}, {run}: {name} {value}"
            expected.append((row["subject"], run, words))
    assert sorted(said) == sorted(expected)
    drawn = [mark for mark in marks if " mean FD " in title(mark)]
    values = [float(title(mark).rsplit(" ", 1)[1]) for mark in drawn]
    places = [float(mark.get("y")) for mark in drawn]
    # Tooltips are rounded to two or three digits, and so a little off the line.
    assert np.corrcoef(places, values)[0, 1] < -0.999


def manifest(without=()):
    rows = [
        (subject, condition, cue, "n/a", f"{run}.nii")
        for subject in example.subjects(4)
        for condition in ("alone", "partner")
        for cue in ("threat", "safe")
        for run in (1, 2)
        if (subject, condition, cue, run) not in without
    ]
    columns = ["subject", "condition", "cue", "contrast", "image"]
    return pd.DataFrame(rows, columns=columns)


def test_what_a_person_lacks_has_a_cross(rng):
    lacking = {
        ("02", "partner", "safe", 1), ("02", "partner", "safe", 2), ("03", "alone", "safe", 2)
    }  # fmt: skip
    relief = example.relief(rng, 4, contrasts=("partner",))
    relief.loc[0, "relief"] = "n/a"
    out = pd.DataFrame({"subject": ["09"], "reason": ["no scan"]})
    figure = figures_quality.draw_cells(manifest(lacking), relief, out)
    rows = ["alone, threat", "alone, safe", "partner, threat", "partner, safe"]
    rows.append("ratings: partner")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == rows
    crosses = {tuple(xy) for xy in lines(axes, "missing")[0].get_xydata()}
    assert crosses == {(1, 3), (0, 4), *((4, row) for row in range(5))}
    (marks,) = saved(figure)
    said = {(m.get("data-subject"), m.get("data-label")): title(m) for m in marks}
    assert len(said) == len(marks) == 25
    assert said["03", "alone, safe"] == "03, alone, safe: n = 1"
    assert said["03", "alone, threat"].endswith("n = 2")
    assert said["09", "partner, safe"].endswith("n = 0")
    shades = axes.collections[0].get_array()
    assert (shades[1, 2], shades[3, 1], shades[0, 0]) == (0.5, 0, 1)
    figures_quality.draw_cells(manifest(), None, out.iloc[:0]).draw_without_rendering()


def test_cells_of_bold_count_events():
    rows = manifest({("02", "partner", "safe", 1)}).drop(columns="contrast")
    rows = rows.assign(n_events=["6"] * 8 + ["5"] * (len(rows) - 8))
    # A regressor of no interest is no cell.
    other = {"subject": "01", "condition": "n/a", "cue": "n/a", "n_events": "9"}
    rows = pd.concat([rows, pd.DataFrame([other])])
    out = pd.DataFrame({"subject": [], "reason": []}, dtype=str)
    figure = figures_quality.draw_cells(rows, None, out)
    (marks,) = saved(figure)
    assert len(marks) == 16
    said = {(m.get("data-subject"), m.get("data-label")): title(m)[-6:] for m in marks}
    assert said["01", "partner, safe"] == "n = 12"
    assert said["02", "partner, safe"] == " n = 5"
    assert (
        figure.axes[0]
        .get_title(loc="left")
        .startswith("Full: there. Pale: fewer events")
    )
    assert figure.axes[0].collections[0].get_array()[3, 1] == 5 / 12


def test_hostile_names_are_harmless_in_the_file_and_in_a_page(rng):
    attenuation = example.attenuation(rng, 5, rois=("insula",), contrasts=("partner",))
    tests = example.attenuation_tests(attenuation, rng)
    attenuation = attenuation.assign(
        subject=[f"{HOSTILE}{i % 5}" for i in range(len(attenuation))]
    )
    figure = figures.draw_attenuation(attenuation, tests, UNIT)
    (marks,) = saved(figure)
    written = drawing.to_svg(figure)
    page = svg.inline(written, "f")
    assert "<script" not in written + page
    expected = HOSTILE.replace("\x07", "\N{REPLACEMENT CHARACTER}")
    assert marks[0].get("data-subject") == f"{expected}0"
    assert len(title(marks[0])) < 200
    again = [m.get("data-subject") for m in ElementTree.fromstring(page).iter("use")]
    assert [s for s in again if s] == [mark.get("data-subject") for mark in marks]


def test_a_table_without_numbers_has_no_marks(rng):
    attenuation, relief, tests = tracked(rng)
    nothing = attenuation.assign(attenuation="n/a")
    assert saved(figures.draw_tracking(nothing, relief, tests)) == []
    q1 = example.attenuation_tests(attenuation, rng)
    assert saved(figures.draw_attenuation(nothing, q1, UNIT)) == []


def test_rates_and_power_have_their_names():
    counts = example.calibration_counts()
    table = rates.rate(counts, level=0.95, alpha=0.05, smallest_r=0.1)
    needed = rates.needed_subjects(table, 0.8)
    marks = [
        m
        for part in saved(figures_calibration.draw_rates(table, 30, 0.05))
        for m in part
    ]
    own = table[(table["n_subjects"] == 30) & ~table["test"].str.startswith("p in")]
    own = own[~own["test"].isin(example.SAID[1:])]
    expected = [
        f"{row.question}, {row.test}, 30 people: {tables.display(row.rate, 'share')} "
        f"{tables.interval(row.low, row.high, 'share')}"
        for row in own.itertuples()
    ]
    assert sorted(map(title, marks)) == sorted(expected)

    groups = saved(figures_calibration.draw_power(table, needed, 30))
    assert len(groups) == len(example.COUNTED)
    for (line, *points), question in zip(groups, example.COUNTED, strict=True):
        assert title(line) == question
        sizes = [title(mark).split(", ")[2].split(":")[0] for mark in points]
        assert sizes == ["16 people", "30 people", "64 people"]


def test_each_roi_has_its_name_in_every_view():
    cube = np.mgrid[-6:7:2, -6:7:2, -6:7:2].reshape(3, -1).T
    points = {
        "ventral_acc": np.add(cube, [0, 32, -6]),
        "insula": np.add(cube, [38, 4, 0]),
    }
    # nilearn and what it imports may warn about themselves.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = saved(figures.draw_rois(points))
    names = [mark.get("data-label") for part in groups for mark in part]
    assert sorted(names) == ["Insula"] * 3 + ["Ventral ACC"] * 3
