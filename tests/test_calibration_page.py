"""What figures, sentences and the page say of a calibration is what its tables say."""

import os
import re

import numpy as np
import pandas as pd
import pytest
import results_tables as example

from handhold import captions, figures_calibration, progress, rates, report, tables
from handhold.io import read_results, read_text, write_results

N, ALPHA = 30, 0.05


@pytest.fixture(params=["some", "broken"])
def written(request, tmp_path):
    """Tables written and read back; in the second, one error exceeds alpha."""
    broken = {("elsewhere", "Q2", "both nulls"): 90}
    counts = example.calibration_counts(broken if request.param == "broken" else None)
    table = rates.rate(counts, level=0.95, alpha=ALPHA, smallest_r=0.1)
    needed = rates.needed_subjects(table, 0.8)
    for name, content in (("calibration", table), ("sample_size", needed)):
        write_results(content, tmp_path / f"{name}.tsv")
    return tmp_path, request.param == "broken"


def lines(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def test_the_tables_read_back_as_they_were(written):
    folder, _ = written
    table = read_results(folder / "calibration.tsv")
    again = rates.rate(table, level=0.95, alpha=ALPHA, smallest_r=0.1)
    pd.testing.assert_frame_equal(
        again[table.columns].replace({None: np.nan}), table, check_dtype=False
    )


def test_every_rate_is_drawn_where_the_table_has_it(written):
    folder, _ = written
    table = read_results(folder / "calibration.tsv")
    figure = figures_calibration.draw_rates(table, N, ALPHA)
    figure.draw_without_rendering()
    own = table[table["n_subjects"] == N]
    n_drawn = 0
    for axes, world in zip(figure.axes, example.PLANTED, strict=True):
        for row in own[own["world"] == world].itertuples():
            marks = lines(axes, f"rate {row.question} {row.test}")
            left_out = row.test in example.SAID[1:] or row.test.startswith("p in")
            assert len(marks) == (not left_out)
            n_drawn += len(marks)
            for mark in marks:
                assert list(mark.get_xdata()) == [row.rate]
                colour, shape, _ = figures_calibration.LOOKS[row.meaning]
                assert (mark.get_color(), mark.get_marker()) == (colour, shape)
                assert (mark.get_markerfacecolor() == colour) == row.decides
        bounds = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert list(bounds[0].get_xdata()) == [ALPHA, ALPHA]
    assert n_drawn == 5 * (2 + 5 + 2 + 2 + 3)


def test_a_world_that_was_not_repeated_has_no_panel_and_no_words(written):
    folder, _ = written
    shown = []
    for left_out in ([], ["baselines"]):
        table = read_results(folder / "calibration.tsv")
        kept = ~table["world"].isin(left_out)
        drawn = figures_calibration.draw_rates(table[kept], N, ALPHA)
        text = read_text(folder / "calibration.tsv")
        text = text[~text["world"].isin(left_out)]
        caption = captions.describe_calibration(text)["calibration"].caption
        told = "score and response alone go together" in caption
        shown.append((len(drawn.axes), told))
    assert shown == [(5, True), (4, False)]


def test_power_is_drawn_by_number_of_people(written):
    folder, _ = written
    table = read_results(folder / "calibration.tsv")
    needed = read_results(folder / "sample_size.tsv")
    figure = figures_calibration.draw_power(table, needed, N)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    chosen = table[(table["world"] == "follows") & (table["test"] == "supported")]
    for question in example.COUNTED:
        (line,) = lines(axes, f"power {question}")
        own = chosen[chosen["question"] == question].sort_values("n_subjects")
        assert list(line.get_xdata()) == [16, 30, 64]
        assert list(line.get_ydata()) == list(own["rate"])
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    notes = needed.set_index("question")["note"]
    assert told == [f"{question}: {notes[question]}" for question in example.COUNTED]
    styles = {line.get_linestyle() for line in axes.lines if line.get_gid()}
    assert len({line.get_marker() for line in axes.lines if line.get_gid()}) == 5
    assert len(styles) >= 4


def test_sentences_say_what_the_tables_say(written):
    folder, broken = written
    table, needed = (
        read_text(folder / f"{name}.tsv") for name in ("calibration", "sample_size")
    )
    said = captions.sum_up_calibration(table, needed)
    own = table[(table["n_subjects"] == "30") & (table["test"] == "supported")]
    for row in own[own["world"] == "follows"].to_dict("records"):
        share = tables.display(row["rate"], "share")
        assert f"{row['question']} in {share} (" in said[0]
    errors = table[
        (table["n_subjects"] == "30")
        & (table["decides"] == "true")
        & (table["is_error"] == "true")
    ]
    assert f"{len(errors)} rates of error" in said[1]
    rate = table[
        (table["world"] == "elsewhere") & (table["test"] == "both nulls")
    ].iloc[0]
    shown = f"Q2, both nulls, world elsewhere: {tables.display(rate['rate'], 'share')}"
    assert (shown in said[1]) == broken
    assert ("at most alpha" in said[1]) != broken
    assert "r = .64" in said[2]
    assert "true of the map, not of the receptor alone" in said[2]
    for row in needed.to_dict("records"):
        assert f"{row['question']} {row['note']}" in said[3]
    described = captions.describe_calibration(table)
    assert "1000 simulated studies per world" in described["calibration"].caption
    assert "Q3 r with relief .40" in described["power"].caption


def test_the_page_shows_the_calibration_or_the_command(written):
    folder, _ = written
    found = {
        name: read_text(folder / f"{name}.tsv")
        for name in ("calibration", "sample_size")
    }

    def render(results):
        return report.render(
            *({"title": "T"}, results, example.VERDICTS, {}),
            example.PAGE_PARTS,
        )

    page = render(found)
    section = re.search(r'<section id="calibration".*?</section>', page, re.DOTALL)[0]
    assert "With 30 people" in section
    assert "snakemake --cores all calibrate" not in section
    own = found["calibration"]
    own = own[(own["n_subjects"] == "30")]
    own = own[(own["decides"] == "true") | (own["question"] == "Q2")]
    body = re.search(r"<tbody>(.*?)</tbody>", section, re.DOTALL)[1]
    assert body.count("<tr>") == len(own)
    for row in own.to_dict("records"):
        assert f">{tables.display(row['rate'], 'share')}</td>" in body
    assert "./sample_size.tsv" in section
    assert "snakemake --cores all calibrate" in render({})


def test_progress_counts_files_and_tells_the_time_left(tmp_path):
    files = [tmp_path / f"{i}.tsv" for i in range(5)]
    for file in files:
        file.touch()
    assert progress.report([], 8, "batches") == f"batches [{'.' * 24}] 0 of 8"
    # jobs of 10 s each, and a night between the third and the fourth
    for file, second in zip(files, (0, 10, 20, 30_000, 30_010), strict=True):
        os.utime(file, (1e9 + second, 1e9 + second))
    line = progress.report(files, 8, "batches")
    assert line == f"batches [{'#' * 15}{'.' * 9}] 5 of 8, about 30 s left"
    line = progress.report(files[:3], 20, "batches")
    assert line.endswith("3 of 20, about 2 min 50 s left")
    assert progress.report(files, 5, "batches") == f"batches [{'#' * 24}] 5 of 5"
