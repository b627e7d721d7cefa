"""The brain shows the voxels of the results, and a browser shows the brain, or says why not."""

import base64
import gzip
import io
import json
import re

import browser
import matplotlib as mpl
import nibabel as nib
import numpy as np
import pytest
import results_tables as example
from matplotlib import image as pictures

from handhold import brain, drawing, figures_brain, report, viewer
from handhold.errors import StudyError
from handhold.images import Grid, write_image
from handhold.regions import sphere_cloud, stack

# Voxels run from right to left, as in many a study. No even number of mm lies halfway between.
AFFINE = np.array([[-6.0, 0, 0, 78], [0, 6, 0, -110], [0, 0, 6, -72], [0, 0, 0, 1]])
GRID = Grid(AFFINE, (27, 33, 27))
RECEPTOR = Grid(np.diag([3.0, 3, 3, 1]), (59, 72, 60))
RECEPTOR.affine[:3, 3] = [-85.5, -117.5, -79.5]
CENTRE = {
    "vACC": (-6.0, 42.0, 4.0),
    "Insula": (38.0, 4.0, 0.0),
    "Near": (38.0, 10.0, 0.0),
}
WORDS = {"unit": "% <signal>", "act": "holding", "definition": "own"}
GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
NO_GL = ("--disable-gpu", "--disable-3d-apis")


def at(values, place, affine=AFFINE):
    """The value of the voxel that holds a place, by nibabel."""
    voxel = nib.affines.apply_affine(np.linalg.inv(affine), place)
    return values[tuple(np.rint(voxel).astype(int))]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Means of two contrasts and a receptor map, on grids of their own, with what they hold."""
    folder, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(1)
    left = nib.affines.apply_affine(AFFINE, np.argwhere(np.ones(GRID.shape)))[:, 0] < 0
    left = left.reshape(GRID.shape)
    partner = rng.uniform(0.2, 4, GRID.shape) * np.where(left, 1, -1)
    partner[:, :3] = np.nan
    partner[13] = np.nan  # the voxels that both halves share
    values = {
        "partner": partner.astype(np.float32),
        "stranger": rng.normal(size=GRID.shape).astype(np.float32),
    }
    images = {name: str(folder / f"contrast-{name}.nii.gz") for name in values}
    for name, path in images.items():
        write_image(path, values[name], GRID)
    binding = rng.uniform(1, 3, RECEPTOR.shape).astype(np.float32)
    write_image(folder / "receptor.nii.gz", binding, RECEPTOR)
    receptor = {
        **{"receptor": "MOR", "label": "mu-opioid", "unit": "BP_ND", "checksum": ""},
        **{
            "path": str(folder / "receptor.nii.gz"),
            "background": "nan",
            "negative": "",
        },
    }
    return images, receptor, values, binding


def gather(study, images=None):
    clouds = [sphere_cloud(np.array(c), 9.0, name) for name, c in CENTRE.items()]
    return brain.gather(
        study[0] if images is None else images,
        study[1],
        stack(clouds),
        {name: name for name in CENTRE},
        words=WORDS,
        min_coverage=0.5,
        low_coverage="missing",
    )


@pytest.fixture(scope="module")
def view(study):
    return gather(study)


def unpack(content):
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    return np.asarray(image.dataobj), image.affine


# --- The volumes -----------------------------------------------------------------------


def test_the_attenuation_shown_is_that_of_the_results(study, view):
    for name, path in study[0].items():
        shown, affine = unpack(view.files[f"contrast-{name}.nii.gz"])
        result = nib.load(path)
        assert np.array_equal(shown, np.asarray(result.dataobj), equal_nan=True)
        assert np.array_equal(affine, result.affine)
    assert view.facts["grid"] == {"size_mm": [6.0, 6.0, 6.0], "step": 1}


def test_binding_is_averaged_over_the_voxels_of_the_study(study, view):
    shown, _ = unpack(view.files["receptor.nii.gz"])
    # 6 mm hold two of 3 mm along each axis
    corner = np.array([10, 16, 12])
    centre = nib.affines.apply_affine(AFFINE, corner)
    first = np.rint(
        nib.affines.apply_affine(np.linalg.inv(RECEPTOR.affine), centre - 1.5)
    ).astype(int)
    x, y, z = first
    inside = study[3][x : x + 2, y : y + 2, z : z + 2]
    assert shown[tuple(corner)] == pytest.approx(inside.mean(), rel=1e-6)
    assert view.facts["receptor"]["limit"] == pytest.approx(
        np.percentile(shown[np.isfinite(shown)], 99), rel=0.05
    )


def test_a_heavy_map_loses_planes_but_changes_no_value(study, view, monkeypatch):
    full = np.asarray(nib.load(study[0]["stranger"]).dataobj)
    monkeypatch.setattr(brain, "BUDGET", 60_000)
    thin = gather(study)
    step = thin.facts["grid"]["step"]
    assert step > 1
    shown, affine = unpack(thin.files["contrast-stranger.nii.gz"])
    for voxel in np.ndindex(shown.shape):
        place = nib.affines.apply_affine(affine, voxel)
        assert shown[voxel] == at(full, place)
    total = sum(len(c) for name, c in thin.files.items() if name.startswith("contrast"))
    assert total < 60_000
    binding, at_binding = unpack(thin.files["receptor.nii.gz"])
    whole, _ = unpack(view.files["receptor.nii.gz"])
    assert np.array_equal(affine, at_binding)
    assert np.array_equal(binding, whole[::step, ::step, ::step], equal_nan=True)


def test_the_scale_is_set_by_the_brain_and_shared_by_contrasts(study, view):
    limit = view.facts["attenuation"]["limit"]
    highest = max(np.nanpercentile(np.abs(v), 99) for v in study[2].values())
    assert limit == pytest.approx(highest, rel=0.1)
    eyes = dict(study[0])
    loud = study[2]["stranger"].copy()
    loud[:, -3:, :4] = 1e4  # in front of the temples
    path = study[0]["stranger"].replace("stranger", "loud")
    write_image(path, loud, GRID)
    eyes["stranger"] = path
    assert gather(study, eyes).facts["attenuation"]["limit"] == pytest.approx(
        limit, rel=0.1
    )


def test_overlapping_rois_keep_both_names(view):
    labels, affine = unpack(view.files["rois.nii.gz"])
    sets = {own["label"]: own["rois"] for own in view.facts["rois"]["labels"]}
    for place, rois in (
        (CENTRE["vACC"], ["vACC"]),
        ((38, -2, 0), ["Insula"]),
        ((38, 16, 0), ["Near"]),
        ((38, 8, 0), ["Insula", "Near"]),
    ):
        assert sets[at(labels, place, affine)] == rois
    assert at(labels, (0, -60, 0), affine) == 0
    voxels = np.argwhere(labels == {v[0]: k for k, v in sets.items()}["vACC"])
    far = np.linalg.norm(
        nib.affines.apply_affine(affine, voxels) - CENTRE["vACC"], axis=1
    )
    assert len(voxels) == pytest.approx(4 / 3 * np.pi * 9**3 / 8, rel=0.1)
    assert far.max() < 9 + np.sqrt(3)
    homes = {home["name"]: home for home in view.facts["rois"]["places"]}
    assert homes["vACC, left"]["x"] < 0
    assert "Insula, left" not in homes


def test_more_sets_of_rois_than_a_byte_tells_apart_keep_their_names():
    grid = Grid(np.diag([2.0, 2, 2, 1]), (40, 40, 4))
    centres = {f"{i}": (4.0 * (i % 19), 4.0 * (i // 19), 2.0) for i in range(300)}
    clouds = [sphere_cloud(np.array(c), 1.9, name) for name, c in centres.items()]
    labels, told, _ = brain.label_rois(stack(clouds), {n: n for n in centres}, grid)
    sets = {own["label"]: own["rois"] for own in told}
    for name, place in centres.items():
        assert sets[at(labels, place, grid.affine)] == [name]


def test_a_study_without_a_common_grid_still_shows_the_receptors(study):
    lost = gather(study, {"partner": "nowhere.nii.gz"})
    assert lost.facts["attenuation"]["maps"] == []
    assert lost.facts["attenuation"]["missing"][0]["contrast"] == "partner"
    shown, affine = unpack(lost.files["receptor.nii.gz"])
    assert np.isfinite(at(shown, (0, 0, 10), affine))


def test_what_is_written_is_read_back(view, tmp_path):
    viewer.write_view(view, tmp_path)
    assert viewer.read_view(tmp_path) == view


# --- The program -----------------------------------------------------------------------


def test_the_installed_niivue_is_cut_out_whole():
    program = viewer.read_program()
    assert re.fullmatch(r"0\.\d+\.\d+", program.version)
    assert "Redistribution and use" in program.licence
    assert program.script.count("globalThis.handholdNiivue = ") == 1
    for word in ("import.meta", "new Worker(", "WebAssembly", "eval(", "new Function"):
        assert not re.search(rf"(?<![\w.]){re.escape(word)}", program.script), word


@pytest.mark.parametrize(
    "gone", ["preact-signals", "class extends EventTarget", "version: "]
)
def test_another_build_is_refused_with_what_was_not_found(gone):
    text = (
        'var a = { version: "0.1.2" };\nvar b = class extends EventTarget {\n  /**\n'
        "   * @param options  - options object to set modifiable Niivue properties\n */\n};\n"
        'var c = Symbol.for("preact-signals");\nimport.meta.url;\n'
    )
    program = viewer.cut_program(text, "free", "carrier 1")
    assert program.version == "0.1.2"
    assert "globalThis.handholdNiivue = b;" in program.script
    assert "import.meta" not in program.script
    with pytest.raises(StudyError, match=r"carrier 1: .* not found .*pyproject\.toml"):
        viewer.cut_program(text.replace(gone, "other"), "free", "carrier 1")


def test_the_page_says_how_to_get_niivue_where_it_is_missing(view):
    page = render(view, None)
    assert "pip install jupyterlab_niivue" in page
    assert "viewer-data" not in page.replace('getElementById("viewer-data")', "")


# --- On glass --------------------------------------------------------------------------


def test_glass_brains_show_the_strongest_value_on_its_own_side(study, view):
    maps, shape, x_mm = brain.glass_maps(view)
    assert [name for name, _ in maps] == ["partner", "stranger", ""]
    partner = maps[0][1]
    # planted: above 0 on the left, below 0 on the right
    assert (partner[x_mm < -3][np.isfinite(partner[x_mm < -3])] > 0).all()
    assert (partner[x_mm > 3][np.isfinite(partner[x_mm > 3])] < 0).all()
    assert np.isnan(partner[~shape]).all()
    figure = figures_brain.draw_glass(
        maps,
        shape,
        x_mm,
        attenuation=view.facts["attenuation"],
        receptor=view.facts["receptor"],
    )
    views = {axes.get_title(): axes for axes in figure.axes[:4]}
    drawn = {
        name: np.asarray(axes.images[1].get_array().filled(np.nan))
        for name, axes in views.items()
    }
    assert np.nanmin(drawn["left half"]) > 0
    assert np.nanmax(drawn["right half"]) < 0
    behind = drawn["from behind"]
    assert np.nanmin(behind[:, : behind.shape[1] // 2 - 3]) > 0  # the left on the left
    half = view.facts["attenuation"]["limit"] / 2
    assert np.nanmin(np.abs(behind)) >= half
    assert {"L", "R"} <= {text.get_text() for text in views["from above"].texts}
    words = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert "holding lowered the response" in " ".join(words.split())


def test_glass_brains_are_the_same_bytes_every_time(view, tmp_path):
    for name in "ab":
        figure = figures_brain.draw_glass(
            *brain.glass_maps(view),
            attenuation=view.facts["attenuation"],
            receptor=view.facts["receptor"],
        )
        drawing.save(figure, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert mpl.rcParams["font.size"] == mpl.rcParamsDefault["font.size"]


# --- In a browser ----------------------------------------------------------------------


def render(view, program):
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="510pt" viewBox="0 0 9 9"></svg>'
    )
    return report.render(
        {"title": "A study"},
        {},
        {"questions": []},
        {"glass": (svg, "glass brains", "Glass brains.")},
        example.PAGE_PARTS,
        viewer.embed(view, program),
    )


@pytest.fixture(scope="module")
def light(study):
    """The same on a coarser template: processors draw it instead of graphics cards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain, "TEMPLATE_MM", 4)
        return gather(study)


@pytest.fixture(scope="module")
def opened(light, launch, tmp_path_factory):
    """The page with its brain drawn, and what the browser complained of."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(light, viewer.read_program()), encoding="utf-8")
    launched = launch(*GL)
    with browser.visit(launched, path, width=1000) as (page, complaints):
        page.set_default_timeout(120_000)
        page.locator("#look").scroll_into_view_if_needed()
        page.wait_for_selector("#viewer[data-ready]")
        yield page, complaints
    launched.close()


def picture(page):
    """The canvas as colours (rows, columns, 3), without its round and outlined edge."""
    page.evaluate(
        "() => new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))"
    )
    shot = page.locator("#viewer-canvas").screenshot()
    return pictures.imread(io.BytesIO(shot))[8:-8, 8:-8, :3]


def told(page):
    """What the page says of a place: the place, and the number of each map, unrounded."""
    place = [float(page.locator(f"#viewer-{axis}").input_value()) for axis in "xyz"]
    cells = page.locator("#viewer-values data").evaluate_all(
        "(all) => all.map((e) => [e.dataset.map, Number(e.value)])"
    )
    return place, dict(cells)


def turn(page, name, value):
    page.locator(f"#viewer-{name}").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )


def go(page, place):
    for axis, mm in zip("xyz", place, strict=True):
        page.locator(f"#viewer-{axis}").evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('change')); }", mm
        )


def require_truth(found, place, study, light):
    for name, values in study[2].items():
        assert found[name] == pytest.approx(at(values, place), rel=1e-6, nan_ok=True)
    binding, _ = unpack(light.files["receptor.nii.gz"])
    assert found["receptor"] == pytest.approx(at(binding, place), rel=1e-6, nan_ok=True)


def test_a_known_place_has_its_known_values(opened, study, light):
    page = opened[0]
    for place in ((-6, 42, 4), (30, -20, 12), (-50, -30, 30), (0, -104, 0)):
        go(page, place)
        said, found = told(page)
        assert said == list(place)
        require_truth(found, place, study, light)
    # outside what was measured
    assert "no value" in page.locator("#viewer-values").inner_text()
    go(page, CENTRE["vACC"])
    text = page.locator("#viewer-values").inner_text()
    assert "vACC" in text
    assert "% <signal>: holding lowered the response" in text


def test_a_click_on_the_left_is_on_the_left_and_tells_its_values(opened, study, light):
    page = opened[0]
    box = page.locator("#viewer-canvas").bounding_box()
    # the first slice is seen from above, the left of the brain on the left
    for share, side in ((0.1, -1), (0.22, 1)):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        page.wait_for_function(
            f"Number(document.getElementById('viewer-x').value) * {side} > 0"
        )
        place, found = told(page)
        require_truth(found, place, study, light)


def test_keys_move_while_the_brain_has_the_focus(opened):
    page = opened[0]
    go(page, (0, 0, 0))
    page.locator("#viewer-canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "PageUp"):
        page.keyboard.press(key)
    assert told(page)[0] == [-2, 4, 2]
    page.locator("#viewer-go").select_option(label="vACC, left")
    assert told(page)[0] == [-6, 42, 4]


def test_the_wheel_turns_the_page_or_the_slices_that_have_the_focus(opened):
    page = opened[0]
    go(page, (0, 0, 0))
    page.locator("#viewer-go").focus()
    page.locator("#viewer-canvas").scroll_into_view_if_needed()
    box = page.locator("#viewer-canvas").bounding_box()
    over = (box["x"] + 0.15 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.move(*over)
    page.mouse.wheel(0, 1)
    page.wait_for_function("window.scrollY > 0")
    assert told(page)[0] == [0, 0, 0]
    page.locator("#viewer-canvas").focus()
    page.mouse.wheel(0, 1)
    page.wait_for_function("document.getElementById('viewer-z').value != 0")


def test_paper_has_the_figure_and_no_canvas(opened):
    page, complaints = opened
    page.emulate_media(media="print")
    assert not page.locator("#viewer").is_visible()
    assert page.locator("#figure-glass").is_visible()
    # what is drawn meanwhile has no width
    page.evaluate("dispatchEvent(new Event('resize'))")
    page.wait_for_timeout(500)
    go(page, (0, 0, 0))
    page.wait_for_timeout(500)
    page.emulate_media(media="screen")
    assert picture(page).max() > 0.5
    assert complaints == []


def test_the_picture_shows_maps_by_opacity_and_threshold(opened):
    page = opened[0]
    go(page, (0, 0, 10))
    turn(page, "attenuation-opacity", 0)
    turn(page, "rois-opacity", 0)
    bare = picture(page)
    assert (bare.std(axis=2) < 0.02).all()  # the grey template
    assert (bare.mean(axis=2) > 0.2).mean() > 0.2
    turn(page, "attenuation-opacity", 100)
    turn(page, "attenuation-threshold", 0)
    shown = picture(page)
    warm = shown[..., 0] - shown[..., 2] > 0.1
    blue = shown[..., 2] - shown[..., 0] > 0.1
    # planted: above 0 on the left; the first slice is seen from above
    middle = int(0.155 * shown.shape[1])
    assert warm[:, : middle - 10].sum() > 50 * blue[:, : middle - 10].sum()
    end = int(0.29 * shown.shape[1])
    assert blue[:, middle + 10 : end].sum() > 50 * warm[:, middle + 10 : end].sum()
    turn(page, "attenuation-opacity", 40)
    half = picture(page)
    assert 0.2 < np.abs(half - bare).sum() / np.abs(shown - bare).sum() < 0.6
    turn(page, "attenuation-opacity", 100)
    page.locator("#viewer-attenuation-faint").uncheck()
    turn(
        page,
        "attenuation-threshold",
        page.locator("#viewer-attenuation-threshold").get_attribute("max"),
    )
    hidden = picture(page)
    assert np.abs(hidden - bare).sum() < 0.05 * np.abs(shown - bare).sum()
    turn(page, "receptor-opacity", 100)
    turn(page, "receptor-threshold", 0)
    receptor = picture(page)
    assert (receptor[..., 1] - receptor[..., 0] > 0.1).mean() > 0.2
    turn(page, "receptor-opacity", 0)
    turn(page, "rois-opacity", 100)
    assert 0 < (np.abs(picture(page) - hidden).max(axis=2) > 0.1).mean() < 0.1


def test_another_contrast_shows_another_map(opened):
    page = opened[0]
    turn(page, "attenuation-opacity", 100)
    turn(page, "attenuation-threshold", 0)
    before = picture(page)
    page.locator("#viewer-contrast").select_option("stranger")
    assert (np.abs(picture(page) - before).max(axis=2) > 0.1).mean() > 0.1


def test_every_control_has_a_name_and_nothing_leaves_the_page(opened):
    page, complaints = opened
    controls = page.locator("#viewer :is(input, select)")
    named = controls.evaluate_all("(all) => all.map((e) => e.labels.length)")
    assert len(named) >= 12
    assert min(named) == 1
    assert complaints == []


@pytest.mark.parametrize(
    ("flags", "scripts", "said"),
    [
        (NO_GL, True, "no WebGL 2. The figure below shows the same maps"),
        (NO_GL, False, "needs JavaScript and WebGL 2"),
    ],
)
def test_without_webgl_or_scripts_the_figure_remains(
    light, launch, tmp_path, flags, scripts, said
):
    path = tmp_path / "report.html"
    path.write_text(render(light, viewer.read_program()), encoding="utf-8")
    launched = launch(*flags)
    with browser.visit(launched, path, scripts=scripts) as (page, complaints):
        assert said in page.locator("#viewer-says").inner_text()
        assert not page.locator("#viewer").is_visible()
        assert page.locator("#figure-glass").is_visible()
        assert complaints == []
    launched.close()


def test_the_data_cannot_end_their_element(view):
    page = render(view, viewer.read_program())
    data = re.search(r'id="viewer-data">(.*?)</script>', page, re.DOTALL)[1]
    assert "<" not in data
    held = json.loads(data)
    assert held["attenuation"]["unit"] == "% <signal>"
    for name, text in held["volumes"].items():
        assert base64.b64decode(text) == view.files[name]


def test_an_roi_has_the_hue_that_the_figures_give_it():
    """Green and purple in the figures' order; blue and vermilion are those of the maps."""
    for i, hue in ((2, drawing.GREEN), (3, drawing.PURPLE)):
        wanted = [int(hue[at : at + 2], 16) for at in (1, 3, 5)]
        far = [np.abs(np.subtract(own, wanted)).sum() for own in viewer.OF_ROIS]
        assert np.argmin(far) == i
