"""The figures draw what the tables say: numbers are read back from the axes."""

import warnings

import numpy as np
import pandas as pd
import pytest
import results_tables as example

from handhold import drawing, figures, figures_quality, tables

UNIT = "% signal change"
HOSTILE = '<script>alert("1")</script> $\\frac{1$ 手 ' + "x" * 200


def numbers(column):
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


def lines(axes, gid):
    return [line for line in axes.lines if (line.get_gid() or "").startswith(gid)]


def drawn(figure):
    """Make every artist lay itself out; a warning is an error."""
    figure.draw_without_rendering()
    return figure


@pytest.fixture
def study(rng):
    attenuation = example.attenuation(rng)
    return attenuation, example.relief(rng), rng


def test_every_subject_and_the_tabled_mean_and_interval_are_drawn(study):
    attenuation, _, rng = study
    tests = example.attenuation_tests(attenuation, rng)
    figure = drawn(figures.draw_attenuation(attenuation, tests, UNIT))
    assert len(figure.axes) == len(example.CONTRASTS)
    for axes, contrast in zip(figure.axes, example.CONTRASTS, strict=True):
        for i, region in enumerate(example.ROIS):
            chosen = {"definition": "aal3", "region": region, "contrast": contrast}
            of_roi = attenuation[
                (attenuation[[*chosen]] == [*chosen.values()]).all(axis=1)
            ]
            row = tests[(tests[[*chosen]] == [*chosen.values()]).all(axis=1)].iloc[0]
            values = numbers(of_roi["attenuation"])
            shown = lines(axes, f"subjects {i}")[0].get_ydata()
            assert sorted(shown) == sorted(values[np.isfinite(values)])
            low, high = lines(axes, f"interval {i}")[0].get_ydata()
            assert [low, high] == [float(row["low"]), float(row["high"])]
            assert lines(axes, f"mean {i}")[0].get_ydata() == [float(row["effect"])]
    assert figure.axes[0].get_ylabel() == (
        "Attenuation (% signal change)\nabove 0: holding lowered the response"
    )


def test_the_definition_asked_for_is_drawn(study):
    attenuation, _, rng = study
    tests = example.attenuation_tests(attenuation, rng)
    figure = figures.draw_attenuation(
        attenuation, tests, UNIT, definition="harvard_oxford", act="touching"
    )
    row = tests[tests["definition"] == "harvard_oxford"].iloc[0]
    assert lines(figure.axes[0], "mean 0")[0].get_ydata() == [float(row["effect"])]
    assert figure.axes[0].get_ylabel().endswith("touching lowered the response")


def test_only_hypothesised_rois_of_both_sides_are_drawn():
    table = pd.DataFrame(
        {
            "definition": ["a"] * 4 + ["b"],
            "region": ["vACC", "vACC_L", "vACC_R", "caudate", "vACC"],
            "hemisphere": ["both", "left", "right", "both", "both"],
            "role": ["hypothesised", "detail", "detail", "detail", "hypothesised"],
        }
    )
    assert list(drawing.select_rois(table).index) == [0]


def test_tracking_pairs_each_subject_with_its_own_relief(study):
    attenuation, relief, rng = study
    tests = example.tracking_tests(attenuation, rng)
    # Reversed rows: a join by position would pair the wrong people.
    figure = figures.draw_tracking(attenuation, relief[::-1], tests, unit=UNIT)
    drawn(figure)
    # Four ROIs and two contrasts; a strip above each scatter.
    assert len(figure.axes) == 16
    strip, axes, row = figure.axes[0], figure.axes[4], tests.iloc[0]
    chosen = attenuation.head(24)
    own = relief[relief["contrast"] == "partner"].set_index("subject")["relief"]
    pairs = {
        (x, y)
        for x, y in zip(
            numbers(chosen["attenuation"]), numbers(own[chosen["subject"]]), strict=True
        )
        if np.isfinite(x)
    }
    dots = lines(axes, "subjects")[0]
    assert set(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == pairs

    x, y = np.array(sorted(pairs)).T
    slope, offset = np.polyfit(x, y, 1)
    ends = lines(axes, "line")[0]
    # Both are the same least squares, so only rounding may differ.
    assert ends.get_ydata() == pytest.approx(
        offset + slope * ends.get_xdata(), rel=1e-9
    )
    title = strip.get_title(loc="left")
    assert tables.display(row["effect"], "r") in title
    assert tables.display(row["p_fwe"], "p") in title


def test_the_sign_of_relief_is_told_whatever_its_label(study):
    attenuation, relief, rng = study
    tests = example.tracking_tests(attenuation, rng)
    label = "relief (drop in reported negative affect, look - reappraise)"
    figure = figures.draw_tracking(attenuation, relief, tests, relief_label=label)
    lines_of_label = figure.axes[4].get_ylabel().split("\n")
    assert lines_of_label[-1] == "above 0: holding helped"
    assert " ".join(lines_of_label[:-1]) == label
    assert max(map(len, lines_of_label)) < 42


def test_coupling_takes_the_row_of_its_contrast(study):
    _, relief, rng = study
    coupling = example.coupling(rng)
    row = example.coupling_tests().iloc[1]
    figure = drawn(figures.draw_coupling(coupling, relief, row))
    shown = lines(figure.axes[1], "subjects")[0].get_xdata()
    expected = numbers(coupling.loc[coupling["contrast"] == "stranger", "fisher_z"])
    assert sorted(shown) == sorted(expected)


def test_correspondence_draws_every_parcel_and_null(rng):
    structure = np.repeat(["cortex", "subcortex"], [360, 34])
    binding = rng.gamma(3, 0.4, 394) + 2 * (structure == "subcortex")
    group = 0.1 * binding + rng.normal(0, 0.1, 394)
    null_r = {
        "moran": rng.normal(0, 0.12, 999),
        "variogram": rng.normal(0, 0.08, 333),
        "gaussian": rng.normal(0, 0.08, 999),
    }
    row = example.correspondence_tests().iloc[0]
    figure = drawn(
        figures.draw_correspondence(binding, group, structure, null_r, row),
    )
    scatter, histogram = figure.axes
    cortex, subcortex = lines(scatter, "parcels")
    assert list(cortex.get_xdata()) == list(binding[:360])
    assert list(subcortex.get_ydata()) == list(group[360:])
    assert cortex.get_marker() != subcortex.get_marker()
    # The slope that structures share is that of a regression with a mean per structure.
    design = np.column_stack([binding, structure == "cortex", structure == "subcortex"])
    slope = np.linalg.lstsq(design.astype(float), group, rcond=None)[0][0]
    for line in lines(scatter, "line"):
        rise = np.diff(line.get_ydata()) / np.diff(line.get_xdata())
        assert rise.item() == pytest.approx(slope, rel=1e-9)
    assert sum(bar.get_height() for bar in histogram.patches) == 999
    # the families that do not decide are outlines of the same area
    for family, line in zip(
        ("variogram", "gaussian"), lines(histogram, "family"), strict=True
    ):
        x, y = line.get_xdata(), line.get_ydata()
        assert line.get_gid() == f"family {family}"
        bar = histogram.patches[0].get_width()
        assert y.sum() * (x[1] - x[0]) == pytest.approx(999 * bar)
        spread = np.sqrt(y @ x**2 / y.sum())
        assert spread == pytest.approx(null_r[family].std(), rel=0.05)
    assert lines(histogram, "observed")[0].get_xdata()[0] == float(row["effect"])
    assert lines(histogram, "null_low")[0].get_xdata()[0] == float(row["null_low"])


def test_the_target_stands_on_top_of_the_panel(rng):
    tests = example.specificity_tests(rng)
    shuffled = tests.sample(frac=1, random_state=1)
    figure = drawn(figures.draw_panel(shuffled))
    axes = figure.axes[0]
    assert axes.get_yticklabels()[0].get_text() == "mu-opioid"
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    target, others = lines(axes, "target")[0], lines(axes, "others")[0]
    assert list(target.get_xdata()) == [float(tests["effect"][0])]
    shown = [*target.get_xdata(), *others.get_xdata()]
    assert sorted(shown) == sorted(numbers(tests["effect"]))
    bands = axes.collections[0].get_segments()
    ends = [[float(band[0][0]), float(band[1][0])] for band in bands]
    assert ends == [[-0.22, 0.24]] * len(tests)
    words = [text.get_text() for text in axes.texts]
    assert all(tables.display(p, "p") in words for p in tests["p_fwe"])


@pytest.mark.parametrize("n", [24, 200])
def test_coverage_shows_every_cell_and_marks_the_low_ones(rng, n):
    rois = example.regions(rng, n)
    figure = drawn(figures_quality.draw_coverage(rois, 0.8))
    axes = figure.axes[0]
    shown = np.asarray(axes.collections[0].get_array())
    assert shown.shape == (len(example.ROIS), n)
    # The worst of a subject's images, by brute force.
    rows = rois[rois["definition"] == "aal3"]
    expected = [
        [
            min(numbers(rows.loc[(rows["region"] == r) & (rows["subject"] == s), "coverage"]))
            for s in example.subjects(n)
        ]
        for r in example.ROIS
    ]  # fmt: skip
    assert shown.tolist() == expected
    assert len(lines(axes, "too low")[0].get_xdata()) == (shown < 0.8).sum() > 0
    assert lines(figure.axes[1], "gate")[0].get_ydata()[0] == 0.8


LIMITS = {
    "warn_vif": 5,
    "max_vif": 10,
    "max_censored": 0.5,
    "warn_motion": 0.5,
    "warn_high_pass": 0.5,
}


def marks(axes):
    """Where the runs' marks stand, whatever their look."""
    shown = [line.get_xydata() for line in lines(axes, "runs")]
    return np.concatenate(shown)


@pytest.mark.parametrize("n", [1, 20, 200])
def test_every_run_stands_in_the_place_of_its_subject(rng, n):
    review = example.runs(rng, n)
    # The first subject's runs come last first; the second's, if any, in order.
    shuffled = review.iloc[[2, 1, 0, *range(3, len(review))]]
    figure = drawn(figures_quality.draw_runs(shuffled, LIMITS))
    assert len(figure.axes) == len(figures_quality.MEASURES) == 6
    for axes, measure in zip(figure.axes, figures_quality.MEASURES, strict=True):
        values = numbers(review[measure.column])
        people = np.repeat(np.arange(n), 3)
        found = marks(axes)
        assert sorted(found[:, 1]) == sorted(values)
        # Nearest place is the subject's own, and a look is a run.
        shown = {(round(x), y) for x, y in found}
        assert shown == set(zip(people, values, strict=True))
        third = lines(axes, "runs run 3")[0]
        assert sorted(third.get_ydata()) == sorted(values[2::3])
        assert np.all(third.get_xdata() > np.round(third.get_xdata()))
        low, high = axes.get_ylim()
        assert low <= values.min()
        assert values.max() <= high
    assert len({line.get_marker() for line in lines(axes, "runs")}) == 3
    labels = [text.get_text() for text in figure.axes[-1].get_xticklabels()]
    assert labels == example.subjects(n)[:: 5 if n == 200 else 1]
    assert figure.get_size_inches()[0] <= figures_quality.WIDTH


def test_what_lies_over_a_line_has_a_ring(rng):
    review = example.runs(rng, 20)
    review.loc[0, "largest_r_motion"] = "0.5"  # on the line is not over it
    review.loc[1, "largest_r_motion"] = "0.501"
    figure = figures_quality.draw_runs(review, LIMITS)
    for axes, measure in zip(figure.axes, figures_quality.MEASURES, strict=True):
        keys = [key for key in (measure.warns, measure.refuses) if key]
        heights = [line.get_ydata()[0] for line in axes.lines if line.get_gid() in
                   {"warned", "refused"}]  # fmt: skip
        assert heights == [LIMITS[key] for key in keys]
        values = numbers(review[measure.column])
        over = values[values > min(heights, default=np.inf)]
        assert sorted(lines(axes, "over")[0].get_ydata()) == sorted(over)
    words = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert words == {
        *("refused above 50 %", "warned above 5", "refused above 10"),
        *("warned above .50", "warned above 50 %"),
    }
    vif = figure.axes[3]
    assert len(lines(vif, "over")[0].get_ydata()) > 2


def test_runs_without_a_value_are_counted(rng):
    review = example.runs(rng, 4).assign(mean_fd="n/a")
    review.loc[[0, 5], "largest_r_motion"] = "n/a"
    review.loc[2, "largest_vif"] = "inf"
    figure = figures_quality.draw_runs(review, LIMITS)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["n/a: 12 of 12 runs", "no values (n/a)"]
    assert "n/a: 2 of 12 runs" in [t.get_text() for t in figure.axes[4].texts]
    vif = figure.axes[3]
    assert vif.get_ylim()[1] in marks(vif)[:, 1]
    assert vif.get_ylim()[1] in lines(vif, "over")[0].get_ydata()
    columns = [measure.column for measure in figures_quality.MEASURES]
    nothing = review.assign(**dict.fromkeys(columns, "n/a"))
    drawn(figures_quality.draw_runs(nothing, LIMITS))


def test_runs_stand_in_the_order_of_their_numbers(rng):
    # The first subject has no run 9.
    review = example.runs(rng, 2, ("9", "10")).iloc[[1, 3, 2]]
    figure = figures_quality.draw_runs(review, LIMITS)
    handles = [text.get_text() for text in figure.legends[0].get_texts()]
    assert handles == ["run 9", "run 10", "over a line"]
    ninth, tenth = lines(figure.axes[0], "runs")
    assert ninth.get_xdata()[0] < 1 < max(tenth.get_xdata())


def test_runs_are_told_apart_by_session(rng):
    names = ("1", "2", "3", "4")
    one = example.runs(rng, 3, names)
    two = [one.assign(session=session) for session in ("base", "later")]
    figure = figures_quality.draw_runs(pd.concat(two), LIMITS)
    assert len(lines(figure.axes[0], "runs")) == 1
    found = marks(figure.axes[0])
    assert len(set(found[:, 0])) == 24
    handles = [text.get_text() for text in figure.legends[0].get_texts()]
    assert handles == ["8 runs, left to right", "over a line"]
    both = [one[one["run"] == "1"].assign(session=s) for s in ("base", "later")]
    figure = figures_quality.draw_runs(pd.concat(both), LIMITS)
    handles = [text.get_text() for text in figure.legends[0].get_texts()]
    assert handles == ["session base, run 1", "session later, run 1", "over a line"]


@pytest.mark.parametrize("n", [1, 24])
def test_tsnr_shows_every_cell(rng, n):
    rois = example.regions(rng, n)
    tsnr = rng.gamma(9, 7, len(rois))
    rois = rois.assign(tsnr=tsnr)
    figure = figures_quality.draw_tsnr(rois, definition="harvard_oxford")
    shown = np.asarray(figure.axes[0].collections[0].get_array())
    rows = rois[rois["definition"] == "harvard_oxford"]
    expected = rows.groupby(["region", "subject"], sort=False)["tsnr"].min()
    assert shown.ravel().tolist() == expected.tolist()
    assert figure.axes[0].collections[0].get_clim() == (0, shown.max())
    drawn(figures_quality.draw_tsnr(rois.assign(tsnr="n/a")))


def test_rois_are_outlined_where_their_voxels_are():
    cube = np.mgrid[-6:7:2, -6:7:2, -6:7:2].reshape(3, -1).T
    points = {
        "ventral_acc": cube + np.array([0, 32, -6]),
        "insula": cube + np.array([38, 4, 0]),
    }
    # nilearn and what it imports may warn about themselves.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = figures.draw_rois(points)
    drawn(figure)
    views = [a for a in figure.axes if len(a.collections) >= 4]
    assert len(views) == 3
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Ventral ACC", "Insula"]
    top = views[2].collections[-1].get_paths()[0].vertices
    # The outline of the insula from above: 2 mm voxels, so 2 mm is the tolerance.
    assert top[:, 0].min() == pytest.approx(38 - 7, abs=2)
    assert top[:, 1].max() == pytest.approx(4 + 7, abs=2)


def test_one_roi_and_two_hundred_subjects(rng):
    options = {"rois": ("insula",), "contrasts": ("partner",)}
    attenuation = example.attenuation(rng, 200, **options)
    tests = example.attenuation_tests(attenuation, rng)
    figure = drawn(figures.draw_attenuation(attenuation, tests, UNIT))
    dots = lines(figure.axes[0], "subjects 0")[0]
    assert len(dots.get_ydata()) == 199
    # In a place of their own: not under the mean, nor in the next ROI.
    assert -0.5 < dots.get_xdata().min() < dots.get_xdata().max() < figures.MEAN
    tracking = example.tracking_tests(attenuation, rng)
    relief = example.relief(rng, 200)
    drawn(figures.draw_tracking(attenuation, relief, tracking))


def test_tables_without_a_number_are_drawn_as_such(study):
    attenuation, relief, rng = study
    tests = example.attenuation_tests(attenuation, rng)
    tests = tests.assign(effect="n/a", low="n/a", high="n/a")
    nothing = attenuation.assign(attenuation="n/a")
    drawn(figures.draw_attenuation(nothing, tests, UNIT))
    tracking = example.tracking_tests(attenuation, rng).assign(effect="n/a")
    figure = drawn(figures.draw_tracking(nothing, relief, tracking))
    assert "n/a" in figure.axes[0].get_title(loc="left")
    panel = example.specificity_tests(rng)
    panel = panel.assign(effect="n/a", null_low="n/a", null_high="n/a", p_fwe="n/a")
    drawn(figures.draw_panel(panel))
    row = example.correspondence_tests().iloc[0].copy()
    row[["effect", "null_low", "null_high", "p_map", "p_subject"]] = "n/a"
    empty = np.full(4, np.nan)
    structure = np.array(["cortex", "cortex", "subcortex", "subcortex"])
    nulls = {"moran": empty, "gaussian": empty}
    drawn(figures.draw_correspondence(empty, empty, structure, nulls, row))
    rois = example.regions(rng, 3).assign(coverage="n/a")
    drawn(figures_quality.draw_coverage(rois, 0.8))


def test_a_hostile_name_is_drawn_as_letters(rng, tmp_path):
    attenuation = example.attenuation(rng, 5, rois=(HOSTILE,), contrasts=("$partner",))
    tests = example.attenuation_tests(attenuation, rng)
    figure = figures.draw_attenuation(attenuation, tests, "$\\unit")
    drawing.save(figure, tmp_path / "figure")
    assert "<script" not in (tmp_path / "figure.svg").read_text("utf-8")
    review = example.runs(rng, 1, (HOSTILE,)).assign(subject=HOSTILE, session=HOSTILE)
    drawing.save(figures_quality.draw_runs(review, LIMITS), tmp_path / "runs")
    assert "<script" not in (tmp_path / "runs.svg").read_text("utf-8")


def test_the_same_figure_is_the_same_bytes(study, tmp_path):
    attenuation, _, rng = study
    tests = example.attenuation_tests(attenuation, rng)
    for name in ("a", "b"):
        drawing.save(
            figures.draw_attenuation(attenuation, tests, UNIT), tmp_path / name
        )
    for kind in ("svg", "png"):
        first, second = (tmp_path / f"{name}.{kind}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()
