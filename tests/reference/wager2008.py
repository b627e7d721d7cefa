"""Expected results of config/wager2008.yaml, by plain numpy, scipy and nibabel.

`python tests/reference/wager2008.py FOLDER` reads the images, ratings and maps of FOLDER (the
configuration's data_root) by `tests/reference_wager.py`, which shares no code with handhold, and
writes wager2008.tsv: table and row of the results, column, value, and for p values that rest on
random draws their number.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from scipy import stats

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import reference_wager as reference  # noqa: E402

N_DRAWS = 9999
TARGET = "MOR_kantonen2020"


def expect(data: Path, rng: np.random.Generator):
    """Yield table, row, column, value and number of draws ("" where nothing is random)."""
    ratings = reference.rows(data / "wager2008" / "ratings.tsv")
    images = [reference.read_analyze(data / "wager2008" / r["image"]) for r in ratings]
    relief = np.array([float(r["reappraisal_success"]) for r in ratings])
    yield from expect_regions(data, images, relief, rng)
    yield from expect_maps(data, images, relief, rng)


def expect_regions(data, images, relief, rng):
    """Q1 and Q3: every hypothesised ROI of both definitions."""
    points = reference.roi_points(str(data))
    values = {
        key: -np.array([reference.roi_mean(*image, own)[0] for image in images])
        for key, own in points.items()
    }
    for definition in ("aal3", "harvard_oxford"):
        own = {key: column for key, column in values.items() if key[0] == definition}
        wide = np.stack([*own.values()], axis=1)
        flips = reference.flip_p(wide, N_DRAWS, rng)
        shuffles = reference.shuffle_p(wide, relief, N_DRAWS, rng)
        for i, ((_, region), column) in enumerate(own.items()):
            row = f"definition={definition} region={region}"
            t = stats.ttest_1samp(column, 0).statistic
            r = stats.pearsonr(column, relief).statistic
            q1, q3 = "tests/attenuation", "tests/tracking"
            yield q1, row, "effect", column.mean(), ""
            yield q1, row, "statistic", t, ""
            yield q1, row, "bf10", reference.jzs(t, len(column), np.sqrt(0.5)), ""
            yield q1, row, "p", flips[0][i], N_DRAWS
            yield q1, row, "p_fwe", flips[1][i], N_DRAWS
            yield q3, row, "effect", r, ""
            yield q3, row, "p", shuffles[0][i], N_DRAWS
            yield q3, row, "p_fwe", shuffles[1][i], N_DRAWS


def expect_maps(data, images, relief, rng):
    """Q2, Q4 and Q5: all parcels, ranks within structures."""
    registry = reference.rows(ROOT / "atlases" / "receptors.tsv")
    files = {row["receptor"]: data / row["file"] for row in registry if row["file"]}
    panel = [TARGET, *read_panel()]
    parcels = reference.Parcels()
    attenuation = -np.array([parcels.means(*image)[0] for image in images])
    bindings = np.stack([reference.bind(files[name], parcels) for name in panel])
    enough = np.isfinite(attenuation).sum(axis=0) >= 0.8 * len(attenuation)
    used = enough & np.isfinite(bindings[0])
    group = np.nanmean(attenuation[:, used], axis=0)
    structure, centre = parcels.structure[used], parcels.centre[used]

    z = []
    for row in attenuation:
        own = used & np.isfinite(row)
        r = reference.within(row[own], bindings[0, own], parcels.structure[own], True)
        z.append(np.arctanh(r))
    z = np.array(z)
    q2, where = "tests/correspondence", "scope=all method=spearman"
    r = reference.within(group, bindings[0, used], structure, True)
    maps = reference.rank_maps(bindings[:1, used], structure)
    nulls = reference.moran_signs(maps, centre, structure, N_DRAWS, rng)[:, 0]
    null_r = reference.null_correlations(nulls, group, structure, True)
    yield q2, where, "n_parcels", used.sum(), ""
    yield q2, where, "effect", r, ""
    yield q2, where, "mean_r", np.tanh(z.mean()), ""
    yield q2, where, "statistic", stats.ttest_1samp(z, 0).statistic, ""
    yield q2, where, "p_map", reference.two_sided(r, null_r), N_DRAWS
    flips, _ = reference.flip_p(z[:, np.newaxis], N_DRAWS, rng)
    yield q2, where, "p_subject", flips[0], N_DRAWS

    q4, where = "tests/coupling", "contrast=reappraisal"
    yield q4, where, "effect", stats.pearsonr(z, relief).statistic, ""
    shuffles, _ = reference.shuffle_p(z[:, np.newaxis], relief, N_DRAWS, rng)
    yield q4, where, "p", shuffles[0], N_DRAWS

    everywhere = np.isfinite(bindings[:, used]).all(axis=0)
    maps, own = bindings[:, used][:, everywhere], group[everywhere]
    structure, centre = structure[everywhere], centre[everywhere]
    r = [reference.within(own, each, structure, True) for each in maps]
    ranks = reference.rank_maps(maps, structure)
    nulls = reference.moran_signs(ranks, centre, structure, N_DRAWS, rng)
    null_r = np.stack(
        [
            reference.null_correlations(nulls[:, i], own, structure, True)
            for i in range(len(panel))
        ],
        axis=1,
    )
    p_fwe = reference.smallest_p(r, null_r)
    lead = null_r[:, :1] - null_r[:, 1:]
    p_ahead = [np.nan, *reference.smallest_p(r[0] - np.array(r[1:]), lead)]
    for i, name in enumerate(panel):
        where = f"receptor={name}"
        yield "tests/specificity", where, "effect", r[i], ""
        p = reference.two_sided(r[i], null_r[:, i])
        yield "tests/specificity", where, "p", p, N_DRAWS
        yield "tests/specificity", where, "p_fwe", p_fwe[i], N_DRAWS
        if i:
            yield "tests/specificity", where, "p_difference_fwe", p_ahead[i], N_DRAWS


def read_panel() -> list[str]:
    """Names of the other maps, from the lines of the configuration."""
    text = (ROOT / "config" / "wager2008.yaml").read_text(encoding="utf-8")
    lines = text.split("  panel:\n")[1].splitlines()
    return [
        line.strip().removeprefix("- ") for line in lines if line.startswith("    -")
    ]


if __name__ == "__main__":
    found = expect(Path(sys.argv[1]), np.random.default_rng(2008))
    with Path(__file__).with_suffix(".tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["table", "row", "column", "value", "n_draws"])
        for table, row, column, value, n_draws in found:
            writer.writerow([table, row, column, f"{value:.9g}", n_draws])
