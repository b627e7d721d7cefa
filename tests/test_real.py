"""The reanalysis of Wager 2008, every headline number worked out again by other means.

The study runs once, in its own process, as a reader would run it; `reference_wager` holds the
other calculation. Needs the real data, and skips where they are not.
"""

import fcntl
import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import browser
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import reference_wager as reference
from scipy import stats

from handhold.images import read_volume
from handhold.tracking import assess_coupling, assess_tracking
from handhold.verdicts import SUPPORTED, Evidence, judge
from rules import THRESHOLDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MOR = "pet/MU_carfentanil_hc204_kantonen.nii"
N_DRAWS = 9999

# ---- the run, and the tables it wrote ----


@pytest.fixture(scope="session")
def study(shared_data, tmp_path_factory):
    """Folder of results; one run, also when several workers ask for it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which the workers share
    folder = base / "wager2008"
    with (base / "wager2008.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            run_study(folder, shared_data)
    results = folder / "results" / "wager2008"
    if not (results / "report.html").exists():
        pytest.fail((folder / "log.txt").read_text()[-3000:])
    return results


def run_study(folder, data):
    folder.mkdir()
    for name in ("workflow", "config", "atlases"):
        (folder / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nocolor"]
    command += ["--directory", folder, "--snakefile", ROOT / "Snakefile"]
    command += ["--configfile", ROOT / "config" / "wager2008.yaml"]
    command += ["--config", f"data_root={data}"]
    # the package of this checkout, whichever one is installed
    paths = [str(ROOT / "workflow"), os.environ.get("PYTHONPATH", "")]
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "log.txt").open("w") as log:
        subprocess.run(
            command, cwd=folder, env=variables, stdout=log, stderr=log, check=False
        )


@pytest.fixture(scope="session")
def table(study):
    return lambda name: reference.rows(study / f"{name}.tsv")


@pytest.fixture(scope="session")
def tests_of(table):
    """Rows of a table of tests under `role` hypothesised, by (definition, region)."""

    def read(name):
        return {
            (row["definition"], row["region"]): row
            for row in table(f"tests/{name}")
            if row["role"] == "hypothesised"
        }

    return read


def number(text):
    return np.nan if text == "n/a" else float(text)


def close(row, **expected):
    """Compare numbers of a row with a dict of name to (value, tolerance)."""
    for name, (value, tolerance) in expected.items():
        assert number(row[name]) == pytest.approx(value, abs=tolerance), name


# ---- the same from the bytes ----


@pytest.fixture(scope="session")
def ratings(shared_data):
    return reference.rows(shared_data / "wager2008" / "ratings.tsv")


@pytest.fixture(scope="session")
def images(shared_data, ratings):
    """Image (values, affine) by participant."""
    folder = shared_data / "wager2008"
    return {
        row["participant_id"]: reference.read_analyze(folder / row["image"])
        for row in ratings
    }


@pytest.fixture(scope="session")
def relief(ratings):
    return {row["participant_id"]: float(row["reappraisal_success"]) for row in ratings}


@pytest.fixture(scope="session")
def roi_points(shared_data):
    return reference.roi_points(str(shared_data))


@pytest.fixture(scope="session")
def roi_attenuation(images, roi_points):
    """Attenuation, shape (30,), by (definition, region); people as `images`."""
    found = {}
    for key, points in roi_points.items():
        means, coverage = zip(
            *(reference.roi_mean(*image, points) for image in images.values()),
            strict=True,
        )
        assert min(coverage) >= reference.MIN_COVERAGE, key
        found[key] = -np.array(means)
    return found


@pytest.fixture(scope="session")
def parcels():
    return reference.Parcels()


@pytest.fixture(scope="session")
def parcel_attenuation(images, parcels):
    """Shape (30, n_kept), NaN where too little of the parcel is covered."""
    return -np.array([parcels.means(*image)[0] for image in images.values()])


@pytest.fixture(scope="session")
def binding(shared_data, parcels):
    """Mean over measured voxels; with the background where under .8 of a parcel is measured."""
    return reference.bind(shared_data / MOR, parcels)


@pytest.fixture(scope="session")
def used(parcel_attenuation, binding):
    n_subjects = np.isfinite(parcel_attenuation).sum(axis=0)
    least = reference.MIN_SUBJECTS * len(parcel_attenuation)
    return (n_subjects >= least) & np.isfinite(binding)


@pytest.fixture(scope="session")
def group(parcel_attenuation, used):
    return np.nanmean(parcel_attenuation[:, used], axis=0)


@pytest.fixture(scope="session")
def subject_z(parcel_attenuation, binding, parcels, used):
    """Fisher z of each subject's rank correlation over its own parcels."""
    found = []
    for row in parcel_attenuation:
        own = used & np.isfinite(row)
        r = reference.within(row[own], binding[own], parcels.structure[own], True)
        found.append(np.arctanh(r))
    return np.array(found)


@pytest.fixture(scope="session")
def correspondence(table):
    """Rows of Q2 by (scope, method)."""
    return {(r["scope"], r["method"]): r for r in table("tests/correspondence")}


# ---- images ----


def test_bytes_and_nibabel_give_the_same_image(shared_data, images, ratings):
    row = ratings[1]
    image = nib.load(shared_data / "wager2008" / row["image"])
    values, affine = images[row["participant_id"]]
    np.testing.assert_array_equal(values, image.get_fdata().squeeze())
    np.testing.assert_array_equal(affine, image.affine)  # nibabel assumes radiological


@pytest.mark.parametrize("orientation", ["radiological", "neurological"])
def test_orientation_turns_the_grid_as_declared(shared_data, ratings, orientation):
    path = shared_data / "wager2008" / ratings[0]["image"]
    expected, affine = reference.read_analyze(path, orientation == "neurological")
    volume = read_volume(path, orientation, "here")
    np.testing.assert_array_equal(volume.values, expected)
    np.testing.assert_allclose(volume.grid.affine, affine)


def test_raw_integers_would_be_wrong(shared_data, table):
    image = nib.load(shared_data / MOR)
    assert image.get_data_dtype() == np.int32
    raw = image.dataobj.get_unscaled().max()
    values, _ = reference.read_map(shared_data / MOR)
    assert raw > 900 * np.nanmax(values)
    bound = [number(r["binding"]) for r in table("receptors/parcels")]
    assert np.nanmax(bound) <= 100


# ---- regions ----


def test_roi_means_per_subject(table, images, roi_attenuation):
    found = {
        (row["definition"], row["region"], row["subject"]): row
        for row in table("regions/rois")
    }
    for key, values in roi_attenuation.items():
        for subject, value in zip(images, values, strict=True):
            row = found[*key, subject]
            close(row, effect=(-value, 1e-6))
            assert row["excluded"] == "false"


def test_attenuation_is_minus_the_mean(table, images, roi_attenuation):
    found = {
        (row["definition"], row["region"], row["subject"]): float(row["attenuation"])
        for row in table("attenuation/rois")
    }
    for key, values in roi_attenuation.items():
        own = [found[*key, subject] for subject in images]
        np.testing.assert_allclose(own, values, atol=1e-6)


def test_dice_of_definitions(table, roi_points):
    for row in table("regions/overlap"):
        if ("aal3", row["region"]) not in roi_points:
            continue
        first, second = (
            {tuple(point) for point in roi_points[name, row["region"]]}
            for name in ("aal3", "harvard_oxford")
        )
        dice = 2 * len(first & second) / (len(first) + len(second))
        close(
            row,
            dice=(dice, 1e-9),
            volume_a=(len(first), 0.5),
            volume_b=(len(second), 0.5),
        )
        if row["region"] == "vACC":
            # The issue's .15 is of the subgenual label alone; ours adds the pregenual one.
            assert dice < 0.15
    subgenual = {tuple(point) for point in reference.aal3_points(("ACC_sub",))}
    assert 2 * len(subgenual & second_vacc(roi_points)) / (
        len(subgenual) + len(second_vacc(roi_points))
    ) == pytest.approx(0.15, abs=0.02)


def second_vacc(roi_points):
    return {tuple(point) for point in roi_points["harvard_oxford", "vACC"]}


def test_parcels_are_kept_by_size(table, parcels):
    rows = [row for row in table("regions/definitions") if row["kind"] == "parcel"]
    assert [row["region"] for row in rows] == list(parcels.all_names)
    kept = [row for row in rows if row["status"] == "kept"]
    assert [row["region"] for row in kept] == list(parcels.names)
    assert [row["structure"] for row in kept] == list(parcels.structure)
    centre = [[float(row[axis]) for axis in "xyz"] for row in kept]
    np.testing.assert_allclose(centre, parcels.centre, atol=1e-6)


def test_parcel_means_per_subject(table, images, parcels, parcel_attenuation):
    found = {
        (row["subject"], row["region"]): number(row["attenuation"])
        for row in table("attenuation/parcels")
    }
    assert len(found) == parcel_attenuation.size
    own = [[found[subject, region] for region in parcels.names] for subject in images]
    np.testing.assert_allclose(own, parcel_attenuation, atol=1e-6)


# ---- receptors ----


def test_binding_of_parcels(table, parcels, binding):
    found = {
        row["region"]: number(row["binding"])
        for row in table("receptors/parcels")
        if row["receptor"] == "MOR_kantonen2020"
    }
    own = [found[region] for region in parcels.names]
    np.testing.assert_allclose(own, binding, atol=1e-6)


# Of the issue: Kantonen, Harvard-Oxford at 25 %, background counted in. An image grid of its own
# was averaged there and 1 mm points here, so that the same rule differs by up to 2 %; leaving
# the background out, as the study does, raises regions at the edge of the map (caudate: 8 % of
# its points lie in the ventricle, outside the map) by up to 9 %, and none may fall below.
EXPECTED_BINDING = {
    "accumbens": (("Accumbens",), 73.7),
    "putamen": (("Putamen",), 40.5),
    "caudate": (("Caudate",), 35.8),
    "vACC": (("Subcallosal_Cortex",), 34.1),
    "frontal medial": (("Frontal_Medial_Cortex",), 34.0),
    "insula": (("Insular_Cortex",), 33.1),
    "frontal orbital": (("Frontal_Orbital_Cortex",), 29.5),
    "thalamus": (("Thalamus",), 46.2),
}


@pytest.mark.parametrize("region", EXPECTED_BINDING)
def test_binding_of_harvard_oxford(shared_data, table, region):
    stems, expected = EXPECTED_BINDING[region]
    points = reference.harvard_oxford_points(str(shared_data), stems)
    values, affine = reference.read_map(shared_data / MOR)
    mean, _ = reference.roi_mean(values, affine, points, zero_is_missing=False)
    background = reference.look_up(
        np.where(np.isnan(values), -0.009, values), affine, points
    )
    assert np.nanmean(background) == pytest.approx(expected, rel=0.02)
    assert 0.98 * expected < mean < 1.09 * expected
    for row in table("receptors/rois"):
        if (row["receptor"], row["definition"], row["region"]) == (
            "MOR_kantonen2020",
            "harvard_oxford",
            region,
        ):
            close(row, binding=(mean, 1e-6))


# ---- relief ----


def test_relief_is_joined_by_participant(table, relief):
    found = {row["subject"]: float(row["relief"]) for row in table("relief")}
    assert found == relief


def test_order_of_files_is_not_order_of_people(tests_of, roi_attenuation, relief):
    """Joined by the order of natural sorting, every correlation would be another one."""
    joined = np.array([*relief.values()])
    people = sorted(relief, key=lambda name: [int(x) for x in re.findall(r"\d+", name)])
    assert people != [*relief]
    by_order = np.array([relief[name] for name in people])
    for key, row in tests_of("tracking").items():
        values = roi_attenuation[key]
        r = stats.pearsonr(values, joined).statistic
        close(row, effect=(r, 1e-9))
        assert abs(stats.pearsonr(values, by_order).statistic - r) > 0.05


# ---- Q1 ----


def test_attenuation_against_zero(tests_of, roi_attenuation):
    for key, row in tests_of("attenuation").items():
        values = roi_attenuation[key]
        n = len(values)
        t = stats.ttest_1samp(values, 0)
        interval = t.confidence_interval(0.95)
        dz = values.mean() / values.std(ddof=1)
        shift = 0.3 * np.sqrt(n)  # smallest_dz, as t
        tost = max(
            stats.t.sf(t.statistic + shift, n - 1),
            stats.t.cdf(t.statistic - shift, n - 1),
        )
        close(
            row,
            n=(30, 0),
            effect=(values.mean(), 1e-9),
            statistic=(t.statistic, 1e-9),
            p_t=(t.pvalue, 1e-9),
            low=(interval.low, 1e-9),
            high=(interval.high, 1e-9),
            dz=(dz, 1e-9),
            p_tost=(tost, 1e-9),
            bf10=(reference.jzs(t.statistic, n, np.sqrt(0.5)), 1e-5),
        )
        for bound, share in (("dz_low", 0.975), ("dz_high", 0.025)):
            shifted = stats.nct.cdf(t.statistic, n - 1, number(row[bound]) * np.sqrt(n))
            assert shifted == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("definition", ["aal3", "harvard_oxford"])
def test_sign_flips_over_people(tests_of, roi_attenuation, definition, rng):
    own = [key for key in roi_attenuation if key[0] == definition]
    values = np.stack([roi_attenuation[key] for key in own], axis=1)
    p, p_fwe = reference.flip_p(values, N_DRAWS, rng)
    check_p([tests_of("attenuation")[key] for key in own], p=p, p_fwe=p_fwe)


def check_p(rows, smallest=(), **expected):
    """Compare p values within the Monte Carlo error of both sides.

    Those named in `smallest` are family-wise by the smallest p of each draw.
    """
    for name, values in expected.items():
        for row, value in zip(rows, values, strict=True):
            allowed = _error_of_p(row, name, value, N_DRAWS, name in smallest)
            assert number(row[name]) == pytest.approx(value, abs=allowed), name


# ---- Q3 and Q4 ----


def _error_of_p(row, name, value, n_draws, is_smallest):
    if not is_smallest:
        return reference.monte_carlo(value, n_draws, N_DRAWS)
    own = number(row[name.removesuffix("_fwe")])
    return reference.monte_carlo_smallest(value, own, n_draws, N_DRAWS)


def test_tracking(tests_of, roi_attenuation, relief):
    joined = np.array([*relief.values()])
    for key, row in tests_of("tracking").items():
        values = roi_attenuation[key]
        r = stats.pearsonr(values, joined).statistic
        left_out = [
            stats.pearsonr(np.delete(values, i), np.delete(joined, i)).statistic
            for i in range(30)
        ]
        close(
            row,
            n=(30, 0),
            effect=(r, 1e-9),
            spearman=(stats.spearmanr(values, joined).statistic, 1e-9),
            loo_low=(min(left_out), 1e-9),
            loo_high=(max(left_out), 1e-9),
            bf10=(reference.correlation_bf(r, 30, 1 / 3), 1e-4),
        )


def test_tracking_intervals(tests_of, roi_attenuation, relief, rng):
    """BCa of scipy; the bounds of two sets of 9999 resamples differ by some .01."""
    joined = np.array([*relief.values()])

    def pearson(x, y, axis=-1):
        x = x - x.mean(axis, keepdims=True)
        y = y - y.mean(axis, keepdims=True)
        return (x * y).sum(axis) / np.sqrt((x**2).sum(axis) * (y**2).sum(axis))

    for key, row in tests_of("tracking").items():
        if key[0] != "aal3":
            continue
        interval = stats.bootstrap(
            (roi_attenuation[key], joined),
            pearson,
            paired=True,
            n_resamples=N_DRAWS,
            method="BCa",
            rng=rng,
        ).confidence_interval
        close(row, low=(interval.low, 0.03), high=(interval.high, 0.03))


@pytest.mark.parametrize("definition", ["aal3", "harvard_oxford"])
def test_shuffled_people(tests_of, roi_attenuation, relief, definition, rng):
    own = [key for key in roi_attenuation if key[0] == definition]
    values = np.stack([roi_attenuation[key] for key in own], axis=1)
    p, p_fwe = reference.shuffle_p(values, np.array([*relief.values()]), N_DRAWS, rng)
    check_p([tests_of("tracking")[key] for key in own], p=p, p_fwe=p_fwe)


def test_coupling_with_relief(table, subject_z, relief, rng):
    (row,) = table("tests/coupling")
    joined = np.array([*relief.values()])
    r = stats.pearsonr(subject_z, joined).statistic
    close(
        row,
        n=(30, 0),
        effect=(r, 1e-9),
        spearman=(stats.spearmanr(subject_z, joined).statistic, 1e-9),
        bf10=(reference.correlation_bf(r, 30, 1 / 3), 1e-4),
    )
    p, _ = reference.shuffle_p(subject_z[:, np.newaxis], joined, N_DRAWS, rng)
    check_p([row], p=p)


# ---- Q2 ----


def test_group_map(table, parcels, group, binding, used):
    rows = {row["region"]: row for row in table("correspondence/parcels")}
    assert [*rows] == list(parcels.names)
    chosen = [rows[region]["used"] == "true" for region in parcels.names]
    np.testing.assert_array_equal(chosen, used)
    own = [rows[region] for region in parcels.names[used]]
    np.testing.assert_allclose([float(r["group"]) for r in own], group, atol=1e-6)
    np.testing.assert_allclose(
        [float(r["binding"]) for r in own], binding[used], atol=1e-6
    )


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_correlation_within_structures(
    correspondence, group, binding, parcels, used, method
):
    ranked = method == "spearman"
    structure = parcels.structure[used]
    r = reference.within(group, binding[used], structure, ranked)
    row = correspondence["all", method]
    plain = stats.spearmanr if ranked else stats.pearsonr
    close(
        row,
        effect=(r, 1e-9),
        r_overall=(plain(group, binding[used]).statistic, 1e-9),
        n_parcels=(used.sum(), 0),
    )
    for name in ("cortex", "subcortex"):
        own = structure == name
        expected = plain(group[own], binding[used][own]).statistic
        close(
            correspondence[name, method],
            effect=(expected, 1e-9),
            n_parcels=(own.sum(), 0),
        )


def test_coupling_of_each_subject(table, images, subject_z):
    found = {row["subject"]: float(row["fisher_z"]) for row in table("coupling")}
    assert [*found] == [*images]
    np.testing.assert_allclose([*found.values()], subject_z, atol=1e-9)


def test_subject_null(correspondence, subject_z, rng):
    row = correspondence["all", "spearman"]
    t = stats.ttest_1samp(subject_z, 0)
    interval = t.confidence_interval(0.95)
    close(
        row,
        n=(30, 0),
        statistic=(t.statistic, 1e-8),
        mean_r=(np.tanh(subject_z.mean()), 1e-9),
        mean_r_low=(np.tanh(interval.low), 1e-9),
        mean_r_high=(np.tanh(interval.high), 1e-9),
        bf10=(reference.jzs(t.statistic, 30, np.sqrt(0.5)), 1e-4),
    )
    p, _ = reference.flip_p(subject_z[:, np.newaxis], N_DRAWS, rng)
    check_p([row], p_subject=p)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_map_null(correspondence, group, binding, parcels, used, method, rng):
    ranked = method == "spearman"
    structure = parcels.structure[used]
    maps = binding[used][np.newaxis]
    if ranked:
        maps = reference.rank_maps(maps, structure)
    nulls = reference.moran_signs(maps, parcels.centre[used], structure, N_DRAWS, rng)[
        :, 0
    ]
    null_r = reference.null_correlations(nulls, group, structure, ranked)
    row = correspondence["all", method]
    p = reference.two_sided(number(row["effect"]), null_r)
    check_p([row], p_map=[p])
    # relative standard error of an SD: 1 / sqrt(2 n)
    assert number(row["null_sd"]) == pytest.approx(
        null_r.std(), rel=4.5 / np.sqrt(N_DRAWS)
    )
    assert number(row["p"]) == max(number(row["p_map"]), number(row["p_subject"]))


def test_answer_is_neither_yes_nor_no(study, correspondence):
    """The subject null alone would find an effect; the map null does not: inconclusive."""
    row = correspondence["all", "spearman"]
    assert -0.3 < number(row["effect"]) < -0.2
    assert number(row["p_naive"]) < 0.001
    assert number(row["p_subject"]) < 0.05 < number(row["p_map"])
    verdicts = json.loads((study / "verdicts.json").read_text())
    q2 = next(q for q in verdicts["questions"] if q["question"] == "Q2")
    assert q2["verdict"] == row["verdict"] == "inconclusive"


def test_figures_of_the_issue(shared_data, images, ratings):
    """All 360 cortical parcels, background counted in: rho -.21, t(29) -2.51; flipped -.19."""
    parcels = reference.Parcels(least=0)
    cortex = parcels.structure == "cortex"
    image = nib.load(shared_data / MOR)
    whole = {"zero_is_missing": False, "least": 0}
    bound = parcels.means(image.get_fdata(), image.affine, **whole)[0][cortex]

    def correlations(images):
        means = [-parcels.means(*image, **whole)[0][cortex] for image in images]
        of_group = stats.spearmanr(np.mean(means, axis=0), bound).statistic
        return of_group, [stats.spearmanr(own, bound).statistic for own in means]

    rho, of_subjects = correlations(images.values())
    z = np.arctanh(of_subjects)
    t = stats.ttest_1samp(z, 0)
    assert cortex.sum() == 360
    assert rho == pytest.approx(-0.21, abs=0.005)
    assert z.mean() == pytest.approx(-0.096, abs=0.0005 + 1e-12)
    assert t.statistic == pytest.approx(-2.51, abs=0.005)
    assert t.pvalue == pytest.approx(0.018, abs=0.0005)
    paths = [shared_data / "wager2008" / row["image"] for row in ratings]
    flipped, _ = correlations(
        [reference.read_analyze(path, left_first=True) for path in paths]
    )
    assert flipped == pytest.approx(-0.19, abs=0.01)
    assert 0.005 < abs(flipped - rho) < 0.03


# ---- Q5 ----


def test_panel(shared_data, table, group, parcels, used, rng):
    registry = {
        r["receptor"]: r for r in reference.rows(ROOT / "atlases/receptors.tsv")
    }
    rows = table("tests/specificity")
    maps = np.stack(
        [
            reference.bind(shared_data / registry[row["receptor"]]["file"], parcels)[
                used
            ]
            for row in rows
        ]
    )
    everywhere = np.isfinite(maps).all(axis=0)
    maps, own = maps[:, everywhere], group[everywhere]
    structure = parcels.structure[used][everywhere]
    centre = parcels.centre[used][everywhere]
    r = np.array([reference.within(own, each, structure, True) for each in maps])
    nulls = reference.moran_signs(
        reference.rank_maps(maps, structure), centre, structure, N_DRAWS, rng
    )
    null_r = np.stack(
        [
            reference.null_correlations(nulls[:, i], own, structure, True)
            for i in range(len(maps))
        ],
        axis=1,
    )
    difference = null_r[:, :1] - null_r[:, 1:]
    for i, row in enumerate(rows):
        close(row, n_parcels=(everywhere.sum(), 0), effect=(r[i], 1e-9))
    check_p(
        rows,
        smallest=("p_fwe",),
        p=[reference.two_sided(r[i], null_r[:, i]) for i in range(len(r))],
        p_fwe=reference.smallest_p(r, null_r),
    )
    check_p(
        rows[1:],
        smallest=("p_difference_fwe",),
        p_difference=[
            reference.two_sided(r[0] - r[i], difference[:, i - 1])
            for i in range(1, len(r))
        ],
        p_difference_fwe=reference.smallest_p(r[0] - r[1:], difference),
    )
    design = maps[1:] - maps[1:].mean(axis=1, keepdims=True)
    target = maps[0] - maps[0].mean()
    left = target - design.T @ np.linalg.lstsq(design.T, target, rcond=None)[0]
    close(
        rows[0],
        r_squared=(1 - left @ left / (target @ target), 1e-9),
        r_with_y=(stats.pearsonr(maps[0], centre[:, 1]).statistic, 1e-9),
    )


# ---- what is expected of the study, written down ----


def test_results_are_those_of_the_committed_table(table):
    """Numbers of `reference/wager2008.py`, another program's; p within both Monte Carlo errors."""
    expected = reference.rows(ROOT / "tests/reference/wager2008.tsv")
    assert {row["table"] for row in expected} == {
        f"tests/{name}"
        for name in (
            *("attenuation", "correspondence", "tracking"),
            *("coupling", "specificity"),
        )
    }
    for line in expected:
        where = dict(part.split("=") for part in line["row"].split())
        (row,) = [row for row in table(line["table"]) if where.items() <= row.items()]
        value = float(line["value"])
        if line["n_draws"]:
            is_smallest = (
                line["table"] == "tests/specificity" and "fwe" in line["column"]
            )
            drawn = int(line["n_draws"])
            allowed = _error_of_p(row, line["column"], value, drawn, is_smallest)
        else:
            allowed = 1e-6 * max(1, abs(value))
        found = number(row[line["column"]])
        assert found == pytest.approx(value, abs=allowed), line


# ---- what was left out ----


def test_every_parcel_is_used_or_listed(table):
    used = {
        row["region"]
        for row in table("correspondence/parcels")
        if row["used"] == "true"
    }
    listed = [
        row["region"]
        for row in table("exclusions")
        if row["stage"] in ("definition", "correspondence") and row["what"] == "parcel"
    ]
    assert len(listed) == len(set(listed))
    assert not used & set(listed)
    assert len(used) + len(listed) == 426
    panel = {
        row["region"] for row in table("exclusions") if row["stage"] == "specificity"
    }
    (n_panel,) = {int(row["n_parcels"]) for row in table("tests/specificity")}
    assert panel <= used
    assert len(used) - len(panel) == n_panel


def test_every_missing_cell_is_counted(table, parcel_attenuation):
    listed = sum(
        int(row["n"])
        for row in table("exclusions")
        if (row["stage"], row["what"]) == ("coverage", "parcel cell")
    )
    assert listed == np.isnan(parcel_attenuation).sum()


# ---- the page ----


@pytest.fixture(scope="session")
def page(study):
    return (study / "report.html").read_text(encoding="utf-8")


def test_page_asks_nothing_of_the_net(page):
    asked = re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']([^"']*)""", page)
    assert asked
    outside = [a for a in asked if not a.startswith(("#", "./", "data:"))]
    assert outside == []
    assert not re.search(
        r"url\((?!['\"]?#)|@import|<script[^>]*\bsrc|<link|<iframe", page
    )


def test_page_shows_the_numbers_of_the_tables(page, correspondence, table, tests_of):
    text = section(page, "Q2")
    row = correspondence["all", "spearman"]
    for name in ("effect", "p_map", "p_subject", "p"):
        assert shows(text, number(row[name]), name), name
    text = section(page, "Q3")
    for row in tests_of("tracking").values():
        assert shows(text, number(row["effect"]), "effect")
        assert shows(text, number(row["p_fwe"]), "p")
    text = section(page, "Q5")
    for row in table("tests/specificity"):
        assert shows(text, number(row["effect"]), "effect")


def section(page, question):
    """Text of the section of one question, tags left out."""
    found = re.search(rf'<section[^>]*id="{question}".*?</section>', page, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", found[0]))


def shows(text, value, name):
    """Is the number there in APA style: p with three decimals, r with two?"""
    is_p = name.startswith("p")
    digits = 3 if is_p else 2
    written = f"{abs(value):.{digits}f}".removeprefix("0")
    if is_p:
        written = {".000": "<.001", "1.000": ">.999"}.get(written, written)
    minus = "\N{MINUS SIGN}"
    signed = re.escape((minus if value < 0 and written.strip(".0") else "") + written)
    return re.search(rf"(?<![\d.{minus}]){signed}(?!\d)", text)


# ---- joins and the rule, without the real data ----


def test_people_are_joined_whatever_the_order_of_rows(rng):
    """Rows of either table in any order give the correlation of each person with herself."""
    subjects = np.array([f"rea{i}" for i in range(1, 13)])
    calmed = rng.normal(size=12)
    felt = calmed + 0.3 * rng.normal(size=12)
    shuffled = rng.permutation(12)
    attenuation = pd.DataFrame(
        {
            "subject": subjects,
            "definition": "aal3",
            "region": "vACC",
            "hemisphere": "both",
            "role": "hypothesised",
            "contrast": "reappraisal",
            "attenuation": calmed,
        }
    )
    coupling = attenuation.rename(columns={"attenuation": "fisher_z"}).assign(
        receptor="MOR"
    )
    relief = pd.DataFrame(
        {"subject": subjects, "contrast": "reappraisal", "relief": felt}
    ).iloc[shuffled]
    tests = {
        "n_permutations": 99,
        "n_bootstrap": 199,
        "level": 0.95,
        "bayes_kappa": 1 / 3,
        "sensitivity_kappas": [1 / 3],
    }
    thresholds = {"power": 0.8, "alpha": 0.05}
    expected = stats.pearsonr(calmed, felt).statistic
    for assess, table in ((assess_tracking, attenuation), (assess_coupling, coupling)):
        for order in (np.arange(12), rng.permutation(12)):
            found = assess(table.iloc[order], relief, tests, thresholds, rng)
            assert found["effect"].item() == pytest.approx(expected, abs=1e-9)
    by_position = stats.pearsonr(calmed, felt[shuffled]).statistic
    assert abs(by_position - expected) > 0.3


@pytest.mark.parametrize("effect", [-0.4, -1e-9, 0.0, 0.4, np.nan])
@pytest.mark.parametrize("bf10", [0.01, 1.0, 1e6, np.nan])
@pytest.mark.parametrize("p_tost", [0.001, 0.9, np.nan])
@pytest.mark.parametrize("p", [0.0501, 0.35, 1.0, np.nan])
def test_null_result_is_never_supported(effect, bf10, p_tost, p):
    evidence = Evidence(effect, p, p_tost, bf10)
    assert judge(evidence, THRESHOLDS)[0] != SUPPORTED


@pytest.mark.parametrize("effect", [-0.4, 0.0])
def test_wrong_direction_is_never_supported(effect):
    evidence = Evidence(effect, 0.0001, 0.9, 100.0)
    assert judge(evidence, THRESHOLDS)[0] != SUPPORTED


# ---- the page ----


def test_the_page_says_what_the_tables_say(study, chromium):
    browser.assert_whole(chromium, study)
