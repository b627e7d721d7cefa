"""The registration check: planted masks come back as outlines and shares."""

import numpy as np
import pandas as pd
import pytest
import results_tables as example
from test_marks import saved, title

from handhold import captions, drawing, figures_quality, registration, tables
from handhold.images import Grid, write_image

# Coarse and turned along x, as an SPM image may be.
GRID = Grid(
    np.array([[-4.0, 0, 0, 90], [0, 4, 0, -126], [0, 0, 4, -74], [0, 0, 0, 1]]), (46, 56, 45)
)  # fmt: skip
RADII, CENTRE = np.array([62.0, 78, 58]), np.array([0, -18, 12])


def ellipsoid(grid, shift=(0, 0, 0)):
    """Make an image of an ellipsoid like a brain, in MNI space, zero outside."""
    voxels = np.indices(grid.shape).reshape(3, -1)
    points = (grid.affine[:3, :3] @ voxels + grid.affine[:3, 3:]).T
    far = (((points - CENTRE - shift) / RADII) ** 2).sum(axis=1)
    values = np.where(far < 1, 1 + far, 0)
    return values.reshape(grid.shape)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Check four people: in place, 20 mm too far forward, cut below z = 0, and with two images."""
    folder, rows = tmp_path_factory.mktemp("images"), []
    fine = Grid(np.array([[3.0, 0, 0, -90], [0, 3, 0, -126], [0, 0, 3, -74], [0, 0, 0, 1]]),
                (61, 75, 60))  # fmt: skip
    low = ellipsoid(GRID)
    low[:, :, : int(74 / 4) + 1] = np.nan
    for subject, name, values, grid in (
        ("01", "a", ellipsoid(GRID), GRID),
        ("02", "b", ellipsoid(GRID, (0, 20, 0)), GRID),
        ("03", "c", low, GRID),
        ("04", "e", low, GRID),
        ("04", "d", ellipsoid(fine), fine),
        ("04", "e", low, GRID),
    ):
        path = folder / f"{name}.nii.gz"
        write_image(path, values, grid)
        rows.append({"subject": subject, "image": str(path)})
    return registration.check_registration(
        pd.DataFrame(rows), analyze_orientation=None, zero_is_missing=True
    )


def test_volumes_and_shares_are_those_of_the_ellipsoid(checked):
    table = checked[0].set_index("subject")
    assert list(table["n_images"]) == [1, 1, 1, 2]
    whole = 4 / 3 * np.pi * RADII.prod()
    # 4-mm voxels: the border cuts voxels at random, so that volumes err by far less than 1 %.
    assert table.loc["01", "mask_volume"] == pytest.approx(whole, rel=0.01)
    # What all images measured: of the two of 04 the one that was cut off below.
    z = np.array([0 - CENTRE[2], RADII[2]])
    kept = np.pi * RADII[0] * RADII[1] * np.diff(z - z**3 / 3 / RADII[2] ** 2).item()
    # Half a voxel at the cut is 2 %; two grids together lose a shell of a millimetre, 5 %.
    assert table.loc["03", "mask_volume"] == pytest.approx(kept, rel=0.03)
    assert table.loc["04", "mask_volume"] == pytest.approx(kept, rel=0.06)
    for row in table.itertuples():
        both = (1 - row.mask_outside) * row.mask_volume
        brain = both / row.template_covered
        assert row.dice_template == pytest.approx(2 * both / (brain + row.mask_volume))
    assert table.loc["02", "dice_template"] < table.loc["01", "dice_template"]
    assert table.loc["03", "template_covered"] < table.loc["01", "template_covered"]


def test_the_template_lies_where_mni_says(checked):
    planes = checked[1]
    (a, b), (c, d) = planes["extent_z"]
    brain = np.argwhere(planes["template_z"] > 0)
    # An MNI brain at z = 0 spans x -68..68 and y -104..74, to a few mm.
    assert a + 2 * brain[:, 0].min() == pytest.approx(-68, abs=6)
    assert b - a == 2 * (planes["template_z"].shape[0] - 1)
    assert c + 2 * brain[:, 1].max() == pytest.approx(74, abs=6)
    assert d - c == 2 * (planes["template_z"].shape[1] - 1)
    assert planes["mask_z"].shape == (4, *planes["template_z"].shape)


def test_an_outline_is_drawn_where_the_mask_ends(checked):
    table, planes = checked
    figure = figures_quality.draw_registration(table, planes)
    groups = saved(figure)
    assert [[m.get("data-subject") for m in g] for g in groups] == [
        [s] for s in table["subject"]
    ]
    for (mark,), row in zip(groups, table.to_dict("records"), strict=True):
        for name in ("template_covered", "mask_outside"):
            assert tables.display(row[name], "share") in title(mark)
    _, _, places = figures_quality._lay_planes(planes)
    across, _, extent = places["x"]
    ends = []
    for i in (0, 1):
        outline = figures_quality._outline(planes["mask_x"][i], extent)
        y = outline[:, 0] + extent[0][0]
        ends.append((np.nanmin(y), np.nanmax(y)))
    # At x = 2 the ellipsoid reaches its full length; voxels are 4 mm wide.
    np.testing.assert_allclose(
        ends[0], CENTRE[1] + np.array([-1, 1]) * RADII[1], atol=4
    )
    # Half a voxel: what lies halfway between two goes to either.
    np.testing.assert_allclose(ends[1][0] - ends[0][0], 20, atol=2)
    shape = figure.axes[0].patches[0].get_path().vertices
    assert np.nanmin(shape[:, 0]) == pytest.approx(across + ends[0][0] - extent[0][0])
    # The template is in the file once for each plane, however many people there are.
    text = drawing.to_svg(figure)
    assert text.count("data:image/png") == 3
    assert text == drawing.to_svg(figures_quality.draw_registration(table, planes))


def test_two_hundred_people_take_sheets_that_show_each_once(checked):
    _, planes = checked
    table = example.registration(200)
    many = {
        name: np.repeat(values, 50, axis=0) if name.startswith("mask") else values
        for name, values in planes.items()
    }
    sheets = captions.name_sheets(len(table))
    assert sheets == [f"registration-{i}" for i in range(1, 6)]
    figure = figures_quality.draw_registration(table, many, sheet=sheets[3])
    shown = [m.get("data-subject") for group in saved(figure) for m in group]
    assert shown == list(table["subject"][120:160])
    dealt = captions.registration_sheets(table)
    assert [s for sheet in dealt.values() for s in sheet["subject"]] == list(
        table["subject"]
    )
    described = captions.describe_registration(table)
    for axis, at in registration.PLANES_MM.items():
        assert f"{axis} = {at:g}" in described["registration-1"].caption
    assert "40 of 200 people" in described["registration-5"].caption
    assert "62 % to 99 %" in described["registration-1"].alt


def test_someone_without_a_brain_has_no_outline(checked):
    table, planes = checked
    nothing = {
        **planes,
        **{f"mask_{axis}": planes[f"mask_{axis}"] & False for axis in "xyz"},
    }
    table = table.assign(mask_outside=np.nan, template_covered=0)
    assert saved(figures_quality.draw_registration(table.iloc[:1], nothing)) == []
    found = registration.overlap(np.zeros(3, bool), np.ones(3, bool), 8.0)
    assert found["template_covered"] == found["dice_template"] == 0
    assert np.isnan(found["mask_outside"])
