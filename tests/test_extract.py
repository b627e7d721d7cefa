"""Every image of a subject is read in its own grid, and every row keeps its own name."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from brains import (
    AFFINE,
    ORIENTATIONS,
    SHAPE,
    centres,
    draw,
    reorient,
    write,
    write_analyze,
)

from handhold import extract as module
from handhold.errors import StudyError
from handhold.extract import Reader, extract, extract_receptors
from handhold.regions import label_cloud, stack

NAMES = ("d/left", "d/right", "e/top")


@pytest.fixture
def masks():
    """Return three regions as masks on the common grid."""
    x, _, z = centres().T.reshape(3, *SHAPE)
    return {"d/left": x < -20, "d/right": x > 20, "e/top": z > 40}


@pytest.fixture
def clouds(masks):
    """Return the regions as ROIs, and the first two as parcels."""
    rois = [
        label_cloud(mask.astype(int), AFFINE, {n: [1]}) for n, mask in masks.items()
    ]
    parcel = [
        label_cloud(masks[name].astype(int), AFFINE, {name[2:]: [1]})
        for name in ("d/left", "d/right")
    ]
    return {"rois": stack(rois), "parcels": stack(parcel)}


def manifest(*rows):
    empty = {
        "subject": "07",
        "condition": "alone",
        "cue": "threat",
        "contrast": np.nan,
        "run": "1",
        "image": np.nan,
        "variance": np.nan,
        "tsnr": np.nan,
    }
    return pd.DataFrame([empty | row for row in rows])


def run(rows, clouds, orientation=None, zero_is_missing=True):
    return extract(
        rows, clouds, analyze_orientation=orientation, zero_is_missing=zero_is_missing
    )


def test_rows_hold_the_means_of_their_own_images(clouds, masks, rng, tmp_path):
    images = {name: draw(rng) for name in ("one", "two", "variance", "tsnr")}
    for name, values in images.items():
        write(tmp_path / f"{name}.nii.gz", values)
    path = {name: str(tmp_path / f"{name}.nii.gz") for name in images}
    rows = manifest(
        {"image": path["one"], "variance": path["variance"], "tsnr": path["tsnr"]},
        {"image": path["two"], "cue": "safe", "run": "2"},
    )
    found = run(rows, clouds)
    assert list(found) == ["rois", "parcels"]
    rois = found["rois"]
    assert rois["region"].tolist() == [*NAMES, *NAMES]
    assert found["parcels"]["region"].tolist() == ["left", "right"] * 2
    assert set(rois["subject"]) == {"07"}
    assert rois["cue"].tolist() == ["threat"] * 3 + ["safe"] * 3
    assert rois["run"].tolist() == ["1"] * 3 + ["2"] * 3
    for index, (image, name) in enumerate(
        (i, n) for i in ("one", "two") for n in NAMES
    ):
        inside = masks[name]
        line = rois.iloc[index]
        assert line["effect"] == images[image][inside].mean(dtype=float)
        assert line["n_voxels"] == inside.sum()
        assert line["coverage"] == 1
        for column in ("variance", "tsnr"):
            if image == "one":
                assert line[column] == images[column][inside].mean(dtype=float)
            else:
                assert np.isnan(line[column])
    pd.testing.assert_series_equal(
        found["parcels"]["effect"],
        rois.loc[rois["region"].str.startswith("d/"), "effect"].reset_index(drop=True),
    )


def test_images_of_one_subject_may_have_different_grids(clouds, rng, tmp_path):
    values = draw(rng)
    values[rng.random(SHAPE) < 0.2] = np.nan
    rows = []
    for number, orientation in enumerate(ORIENTATIONS[::7]):
        turned, affine = reorient(values, AFFINE, orientation)
        path = write(tmp_path / f"{number}.nii", turned, affine)
        rows.append({"image": str(path), "run": str(number)})
    found = run(manifest(*rows), clouds)["rois"]
    by_run = found.pivot_table(index="region", columns="run", values="effect")
    assert by_run.shape == (3, 7)
    np.testing.assert_array_equal(by_run, by_run.iloc[:, [0] * 7])


def test_coverage_is_that_of_the_effect_image(clouds, masks, rng, tmp_path):
    effect, variance = draw(rng), draw(rng)
    effect[masks["d/left"] & (rng.random(SHAPE) < 0.5)] = 0
    variance[masks["d/right"]] = np.nan
    paths = {
        "image": str(write(tmp_path / "a.nii", effect)),
        "variance": str(write(tmp_path / "b.nii", variance)),
    }
    found = run(manifest(paths), clouds)["rois"].set_index("region")
    measured = effect[masks["d/left"]] != 0
    assert 0 < measured.mean() < 1
    assert found.loc["d/left", "coverage"] == pytest.approx(measured.mean())
    assert found.loc["d/left", "n_voxels"] == measured.sum()
    assert found.loc["d/right", "coverage"] == 1
    assert np.isnan(found.loc["d/right", "variance"])
    kept = run(manifest(paths), clouds, zero_is_missing=False)["rois"]
    assert kept["coverage"].tolist() == [1, 1, 1]


def test_analyze_images_take_the_stated_orientation(clouds, masks, rng, tmp_path):
    values = draw(rng)
    path = write_analyze(tmp_path / "a.img", values, (10, 15, 10))
    rows = manifest({"image": str(path)})
    one = run(rows, clouds, "radiological")["rois"]["effect"]
    two = run(rows, clouds, "neurological")["rois"]["effect"]
    # x of voxel i is 8 (i - 9) or -8 (i - 9); x < -20 are the first 7 or the last 8
    assert one[0] == values[12:].mean(dtype=float)
    assert two[0] == values[:7].mean(dtype=float)


@pytest.mark.parametrize("column", ["image", "variance", "tsnr"])
def test_a_bad_image_is_named_with_subject_and_column(column, clouds, rng, tmp_path):
    good = write(tmp_path / "good.nii", draw(rng))
    bad = write(tmp_path / "bad.nii", np.full(SHAPE, np.nan, np.float32))
    rows = manifest({"image": str(good)} | {column: str(bad)})
    with pytest.raises(StudyError) as caught:
        run(rows, clouds)
    for part in ("sub-07", column, str(bad), "no finite value"):
        assert part in str(caught.value)


def test_an_image_of_several_rows_is_read_once(clouds, rng, monkeypatch, tmp_path):
    one, two, shared = (
        str(write(tmp_path / f"{name}.nii", draw(rng))) for name in "abc"
    )
    alone = run(manifest({"image": two, "tsnr": shared}), clouds)["rois"]
    paths = []
    read = module.read_volume

    def note(path, *rest):
        paths.append(path)
        return read(path, *rest)

    monkeypatch.setattr(module, "read_volume", note)
    rows = manifest(
        {"image": one, "tsnr": shared}, {"image": two, "cue": "safe", "tsnr": shared}
    )
    found = run(rows, clouds)["rois"]
    assert sorted(paths) == [one, two, shared]
    for column in ("effect", "tsnr"):
        assert found[column].tolist()[3:] == alone[column].tolist()


def test_weights_are_worked_out_once_per_grid(clouds, rng, monkeypatch, tmp_path):
    calls = []
    weigh = module.weigh

    def count(*arguments):
        calls.append(arguments)
        return weigh(*arguments)

    monkeypatch.setattr(module, "weigh", count)
    reader = Reader(clouds)
    other = AFFINE.copy()
    other[0, 3] += 1
    options = {"analyze_orientation": None, "zero_is_missing": True}
    for name, affine in (("a", AFFINE), ("b", AFFINE), ("c", other)):
        path = write(tmp_path / f"{name}.nii", draw(rng), affine)
        reader.read(path, "sub-07", **options)
    # two kinds of region on two grids
    assert len(calls) == 4


# --- receptor maps ------------------------------------------------------------------------------

DEFINITIONS = pd.DataFrame(
    {
        "kind": ["roi", "parcel", "parcel", "parcel"],
        "region": ["left", "left", "right", "gone"],
        "structure": ["", "cortex", "subcortex", "cortex"],
    }
)


def receptor(path, **columns):
    return {
        "receptor": path.stem,
        "path": str(path),
        "background": "0.256",
        "negative": "refuse",
        "checksum": "",
    } | columns


@pytest.fixture
def binding(masks, rng, tmp_path):
    """Return two maps, the second on the left only, with their files."""
    values = rng.uniform(1, 2, size=SHAPE).astype(np.float32)
    outside = ~(masks["d/left"] | masks["d/right"])
    one = np.where(outside, np.float32(0.256), values)
    two = np.where(masks["d/left"], values, np.float32(0.256))
    maps = {"MOR": one, "D2": two}
    return maps, [write(tmp_path / f"{name}.nii", v) for name, v in maps.items()]


def test_binding_is_averaged_inside_the_brain_alone(binding, clouds, masks):
    maps, paths = binding
    rows = pd.DataFrame([receptor(path) for path in paths])
    found = extract_receptors(rows, clouds, DEFINITIONS, 0.5, "missing")
    rois = found["rois"].set_index(["receptor", "definition", "region"])
    assert len(rois) == 6
    left, right = masks["d/left"], masks["d/right"]
    for name in ("MOR", "D2"):
        mean = maps[name][left].mean(dtype=float)
        assert rois.loc[(name, "d", "left"), "binding"] == pytest.approx(
            mean, rel=1e-12
        )
    mean = maps["MOR"][right].mean(dtype=float)
    assert rois.loc[("MOR", "d", "right"), "binding"] == pytest.approx(mean, rel=1e-12)
    assert rois.loc[("D2", "d", "right"), "coverage"] == 0
    assert np.isnan(rois.loc[("D2", "d", "right"), "binding"])
    # half of the top lies on the sides, where there is a brain
    top = masks["e/top"] & (left | right)
    line = rois.loc[("MOR", "e", "top")]
    assert line["coverage"] == pytest.approx(top.sum() / masks["e/top"].sum())
    assert line["binding"] == pytest.approx(maps["MOR"][top].mean(dtype=float))


def test_parcels_come_with_their_structure_and_maps_in_order(binding, clouds):
    rows = pd.DataFrame([receptor(path) for path in binding[1]])
    parcels = extract_receptors(rows, clouds, DEFINITIONS, 0.5, "missing")["parcels"]
    assert parcels["receptor"].tolist() == ["MOR", "MOR", "D2", "D2"]
    assert parcels["region"].tolist() == ["left", "right"] * 2
    assert parcels["structure"].tolist() == ["cortex", "subcortex"] * 2


def test_too_little_coverage_gives_no_binding(binding, clouds, masks):
    rows = pd.DataFrame([receptor(binding[1][0])])
    inside = (masks["d/left"] | masks["d/right"])[masks["e/top"]].mean()
    for bound, missing in ((inside - 0.01, False), (inside + 0.01, True)):
        rois = extract_receptors(rows, clouds, DEFINITIONS, bound, "missing")["rois"]
        top = rois[rois["region"] == "top"].iloc[0]
        assert np.isnan(top["binding"]) == missing
        assert top["coverage"] == pytest.approx(inside)
        assert not rois["floored"].any()


def test_the_background_counts_as_binding_where_too_little_is_covered(
    binding, clouds, masks
):
    maps, paths = binding
    rows = pd.DataFrame([receptor(paths[0])])
    top = masks["e/top"]
    measured = top & (masks["d/left"] | masks["d/right"])
    inside = measured.sum() / top.sum()
    for bound, floored in ((inside - 0.01, False), (inside + 0.01, True)):
        rois = extract_receptors(rows, clouds, DEFINITIONS, bound, "floor")["rois"]
        line = rois[rois["region"] == "top"].iloc[0]
        mean = maps["MOR"][top if floored else measured].mean(dtype=float)
        assert line["binding"] == pytest.approx(mean, rel=1e-12)
        assert line["coverage"] == pytest.approx(inside)
        assert line["floored"] == floored
        assert not rois.loc[rois["region"] != "top", "floored"].any()


def test_a_region_that_is_all_background_binds_like_the_background(binding, clouds):
    rows = pd.DataFrame([receptor(binding[1][1])])
    parcels = extract_receptors(rows, clouds, DEFINITIONS, 0.5, "floor")["parcels"]
    right = parcels.set_index("region").loc["right"]
    assert right["binding"] == pytest.approx(np.float32(0.256))
    assert right["coverage"] == 0
    assert parcels["floored"].tolist() == [False, True]


def test_a_background_of_nan_is_no_floor(binding, clouds, masks, tmp_path):
    values = np.where(masks["d/left"], binding[0]["D2"], np.float32(np.nan))
    path = write(tmp_path / "nan.nii", values)
    rows = pd.DataFrame([receptor(path, background="nan")])
    parcels = extract_receptors(rows, clouds, DEFINITIONS, 0.5, "floor")["parcels"]
    assert parcels["binding"].isna().tolist() == [False, True]
    assert not parcels["floored"].any()


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_file_that_is_not_the_registered_one_is_refused(binding, clouds, algorithm):
    path = binding[1][0]
    digest = hashlib.new(algorithm, path.read_bytes()).hexdigest()
    rows = pd.DataFrame([receptor(path, checksum=f"{algorithm}:{digest}")])
    extract_receptors(rows, clouds, DEFINITIONS, 0.5, "missing")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StudyError) as caught:
        extract_receptors(rows, clouds, DEFINITIONS, 0.5, "missing")
    for part in ("MOR", "receptors.table", str(path), algorithm, "row of its own"):
        assert part in str(caught.value)


def test_a_checksum_of_no_known_kind_is_not_passed_over(binding, clouds):
    rows = pd.DataFrame([receptor(binding[1][0], checksum="00" * 32)])
    with pytest.raises(StudyError, match="does not begin with sha256: or md5:"):
        extract_receptors(rows, clouds, DEFINITIONS, 0.5, "missing")


def test_an_undeclared_background_is_named_with_its_map(binding, clouds):
    rows = pd.DataFrame([receptor(binding[1][1], background="0")])
    with pytest.raises(StudyError) as caught:
        extract_receptors(rows, clouds, DEFINITIONS, 0.5, "missing")
    for part in ("D2", "receptors.table", str(binding[1][1]), "0.256 fills"):
        assert part in str(caught.value)


def test_a_zero_inside_a_receptor_map_is_a_value(clouds, masks, rng, tmp_path):
    values = rng.uniform(1, 2, size=SHAPE).astype(np.float32)
    values[masks["e/top"] & (rng.random(SHAPE) < 0.1)] = 0
    path = write(tmp_path / "MOR.nii", values)
    rows = pd.DataFrame([receptor(path, background="nan")])
    rois = extract_receptors(rows, clouds, DEFINITIONS, 0.5, "missing")["rois"]
    top = rois[rois["region"] == "top"].iloc[0]
    assert top["coverage"] == 1
    assert top["binding"] == pytest.approx(values[masks["e/top"]].mean(dtype=float))


def test_an_analyze_receptor_map_is_to_be_converted(clouds, rng, tmp_path):
    path = write_analyze(tmp_path / "MOR.img", draw(rng))
    rows = pd.DataFrame([receptor(path)])
    with pytest.raises(StudyError, match="converted to NIfTI"):
        extract_receptors(rows, clouds, DEFINITIONS, 0.5, "missing")
