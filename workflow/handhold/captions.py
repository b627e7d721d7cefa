"""Say in words what each figure shows: alternative text and caption.

Every number in these texts is read from a results table and rounded by `tables`.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from handhold import tables
from handhold.families import other_families
from handhold.verdicts import ADJUSTED

# Middle 95 % of a null in its SDs: 3.9 where it is normal, 2 where all draws are +-1 SD.
TWO_HUMPS = 3.0
LOWERED = "Values above 0: {act} lowered the response"
HELPED = "relief above 0: {act} helped"
# People on a sheet of outlines: a page of print.
PER_SHEET = 40
# Sheets on the page, which those of 1,000 people would make of 10 MB; all are in figures/.
SHEETS_SHOWN = 3
# People whose marks in a figure have names; of more, marks are one picture.
MOST_NAMED = 200
# Figures with marks of people, and the tables that have each of them.
OF_PEOPLE = {
    "attenuation": "attenuation/rois.tsv",
    "tracking": "attenuation/rois.tsv and relief.tsv",
    "coupling": "coupling.tsv and relief.tsv",
    "cells": "manifest.tsv",
    "coverage": "regions/rois.tsv",
    "tsnr": "regions/rois.tsv",
    "runs": "qc/review.tsv",
}
# What a calibration plants, by question.
WHAT = {
    "Q1": "d_z",
    "Q2": "r with the map",
    "Q3": "r with relief",
    "Q4": "r with relief",
    "Q5": "r with the map",
}


class Description(NamedTuple):
    """What a figure shows (`alt`, for those who cannot see it) and its caption."""

    alt: str
    caption: str


def describe_figures(
    results: Mapping[str, pd.DataFrame],
    *,
    contrast: str,
    definition: str,
    method: str,
    unit: str,
    act: str,
    min_coverage: float,
    limits: Mapping[str, float],
    view: Mapping | None = None,
    level: float = 0.95,
    receptor: str = "",
) -> dict[str, Description]:
    """Describe every figure whose table is in `results` (tables as text, by path).

    `contrast` and `definition` are the primary ones, `method` that of the headline
    correlation, `unit` that of attenuation; `act` is what is to lower the response;
    `limits` are those of `describe_runs`, needed where there are runs; `view` is view.json;
    `level` is that of the intervals, `receptor` what to call the target map.
    """
    named = {"receptor": receptor} if receptor else {}
    people = results["qc/registration"]
    n = tables.display(len(people), "count")
    described = describe_registration(people)
    described["coverage"] = describe_coverage(min_coverage, n)
    what = "events" if "qc/summary" in results else "images"
    described["cells"] = describe_cells(n, what, rated="tests/tracking" in results)
    if view is not None:
        described["glass"] = describe_glass(view)
    if "qc/summary" in results:
        described["runs"] = describe_runs(results["qc/summary"].iloc[0], limits)
        described["tsnr"] = describe_tsnr(n)
    rois = _drawn(results["regions/definitions"], definition=definition)
    described["rois"] = describe_rois(list(rois["region"]), definition)
    attenuation = _drawn(results["tests/attenuation"], definition=definition)
    described["attenuation"] = describe_attenuation(attenuation, unit, act=act)
    headline = _drawn(
        results["tests/correspondence"], contrast=contrast, scope="all", method=method
    )
    described["correspondence"] = describe_correspondence(
        {**headline.iloc[0], **named}, act=act
    )
    if "tests/tracking" in results:
        tracking = _drawn(
            results["tests/tracking"], definition=definition, contrast=contrast
        )
        coupling = _drawn(results["tests/coupling"], contrast=contrast)
        if len(coupling):  # no rating may cover the primary contrast
            described["tracking"] = describe_tracking(tracking, act=act)
            described["coupling"] = describe_coupling(
                {**coupling.iloc[0], **named}, act=act
            )
    if "calibration" in results:
        described |= describe_calibration(results["calibration"])
    if "tests/specificity" in results:
        panel = _drawn(results["tests/specificity"], contrast=contrast)
        described["specificity"] = describe_panel(panel)
    if len(people) > MOST_NAMED:
        for name in OF_PEOPLE.keys() & described.keys():
            alt, caption = described[name]
            caption += f" Of more than {MOST_NAMED} people the marks carry no names: "
            caption += f"{OF_PEOPLE[name]} has everyone."
            described[name] = Description(alt, caption)
    return {
        name: Description(*(at_level(text, level) for text in each))
        for name, each in described.items()
    }


def at_level(text: str, level: float) -> str:
    """State the level of intervals and of the middle of a null in a text that says 95 %.

    Examples
    --------
    >>> at_level("its middle 95 %, the 95 % interval, 95 % of runs", 0.9)
    'its middle 90 %, the 90 % interval, 95 % of runs'
    """
    share = tables.display(level, "share")
    return re.sub(r"(?<=[Mm]iddle )95 %|95 %(?= interval| band)", share, text)


def _drawn(table: pd.DataFrame, **chosen: str) -> pd.DataFrame:
    """Keep the rows that a figure draws: as chosen, and of ROIs the hypothesised ones."""
    for column, value in chosen.items():
        table = table[table[column] == value]
    return table[table["role"] == "hypothesised"] if "role" in table else table


def describe_glass(view: Mapping) -> Description:
    """Describe `figures_brain.draw_glass`; `view` is view.json."""
    attenuation, receptor = view["attenuation"], view["receptor"]
    shown = [f"attenuation, {own['contrast']}" for own in attenuation["maps"]]
    shown.append(f"binding, {receptor['label']}")
    alt = (
        "Glass brains, each map seen from both sides, from behind and from above: "
        f"{'; '.join(shown)}."
    )
    caption = (
        "The maps of the interactive brain on glass brains: along each line of sight the value "
        "farthest from 0, within the brain of the template; in views from the side, of one half "
        "of the brain. Values nearer to 0 than half the scale are not drawn, and no test stands "
        "behind that bound. The left of the brain is on the left (neurological convention). "
        f"Binding ({receptor['unit']}) is shown where the study has voxels."
    )
    if attenuation["maps"]:
        caption += (
            f" Attenuation ({attenuation['unit']}), mean over people: warm, above 0, "
            f"{attenuation['lowered']}; blue with dashed outline, below 0, "
            f"{attenuation['raised']}."
        )
    if len(attenuation["maps"]) > 1:
        caption += " All contrasts share one scale."
    return Description(alt, caption)


def describe_attenuation(tests: pd.DataFrame, unit: str, *, act: str) -> Description:
    """Describe `figures.draw_attenuation`; `tests` holds the rows that were drawn."""
    means = "; ".join(
        f"{row['region']} ({row['contrast']}): mean {_estimate(row, 'effect')}"
        for row in tests.to_dict("records")
    )
    alt = (
        "Raincloud by ROI and contrast: a mark per subject, the mean, and their density. "
        f"{means}."
    )
    caption = (
        f"Attenuation by ROI ({unit}). Small marks are subjects ({_range(tests, 'n')} per ROI), "
        "spread sideways so that each is seen; the diamond is the mean with its 95 % interval, "
        "the cloud a Gaussian kernel density of the subjects (Scott's bandwidth, from 10 on), "
        "drawn for the eye. Test: sign-flip permutation over subjects "
        f"({_range(tests, 'n_permutations')} permutations) against a mean of zero, "
        f"family-wise over ROIs and contrasts by the largest |t|. {LOWERED.format(act=act)}."
    )
    return Description(alt, caption)


def describe_tracking(tests: pd.DataFrame, *, act: str) -> Description:
    """Describe `figures.draw_tracking`; `tests` holds the rows that were drawn."""
    found = "; ".join(
        f"{row['region']} ({row['contrast']}): r = {_estimate(row, 'r')}{_hangs_on(row)}"
        for row in tests.to_dict("records")
    )
    alt = f"Scatter of relief against attenuation, one panel per ROI. {found}."
    caption = (
        f"Relief against attenuation; a mark is a subject ({_range(tests, 'n')} per "
        f"panel). {_of_correlations(tests)}p by permuting relief over subjects "
        f"({_range(tests, 'n_permutations')} permutations), FWE: family-wise by the largest "
        f"|r|. {_decided(tests)}{LOWERED.format(act=act)}; {HELPED.format(act=act)}."
    )
    return Description(alt, caption)


def _hangs_on(row: Mapping) -> str:
    """Say what r hangs on: its range where one person is left out, and the ceiling."""
    if tables.is_missing(row.get("loo_low")):
        return ""
    low, high, ceiling = (
        tables.display(row.get(name), "r")
        for name in ("loo_low", "loo_high", "ceiling")
    )
    return f", {low} to {high} leaving one person out, ceiling {ceiling}"


def _of_correlations(tests: pd.DataFrame) -> str:
    """Explain what `figures.draw_correlation` draws."""
    said = (
        "Line: least squares, with the pointwise 95 % band of its mean, computed for the eye; no "
        "test rests on it. Strip: Pearson r (diamond) with its BCa bootstrap 95 % interval, "
        "thick its range where any one person is left out; the ring marks the person with the "
        "largest Cook's distance. "
    )
    if "ceiling" in tests and not tests["ceiling"].map(tables.is_missing).all():
        said += (
            "Hatched: beyond the ceiling, the largest r to be expected with the reliabilities of "
            "the measures. "
        )
    else:
        said += (
            "The ceiling that reliability sets is not known: no measure was repeated. "
        )
    return said


def _decided(tests: pd.DataFrame) -> str:
    """Say what the verdicts rest on where it is not what is drawn."""
    if "model" not in tests or not (tests["model"] == ADJUSTED).all():
        return ""
    found = "; ".join(
        f"{row['region']} ({row['contrast']}) r = {tables.display(row['partial_r'], 'r')}, "
        f"family-wise p {tables.equals(row['p_partial_fwe'])}"
        for row in tests.to_dict("records")
    )
    return f"Verdicts rest on r at equal measured baselines: {found}. "


def _humps(test: Mapping) -> str:
    """Explain a null that has two humps: its middle 95 % is as wide as few SDs."""
    try:
        low, high, sd = (
            float(test[name]) for name in ("null_low", "null_high", "null_sd")
        )
    except (KeyError, ValueError):
        return ""
    if high - low >= TWO_HUMPS * sd:
        return ""
    return (
        "The null has two humps: one gradient makes most of the map, so that its surrogates "
        "differ by little but their sign. "
    )


def describe_correspondence(test: Mapping, *, act: str) -> Description:
    """Describe `figures.draw_correspondence` from its row of the tests."""
    r = tables.display(test["effect"], "r")
    band = tables.interval(test["null_low"], test["null_high"], "r")
    p_map, p_subject = tables.equals(test["p_map"]), tables.equals(test["p_subject"])
    beside = _beside(test, "p")
    outlines = "Outlines, of the other families, have the same area. " if beside else ""
    alt = (
        "Left: scatter of group attenuation against receptor binding over parcels, "
        f"cortex and subcortex apart. Right: histogram of r under the map null; its middle "
        f"95 % is {band}, the observed r is {r}."
    )
    caption = (
        f"Attenuation against {test['receptor']} binding over {test['n_parcels']} parcels "
        f"({test['contrast']}, {test['n']} subjects). {str(test['method']).capitalize()} "
        f"r within structures = {r}. Lines: least squares, one slope for both structures "
        "(dashed: subcortex). "
        f"Map null ({test['null_method']}, {test['n_nulls']} surrogate maps), which decides: p "
        f"{p_map}{beside}; subject null (sign flip of the subjects' z): p "
        f"{p_subject}; the larger counts. {_humps(test)}{outlines}{LOWERED.format(act=act)}; "
        "r above 0: attenuation is higher where binding is higher."
    )
    return Description(alt, caption)


def describe_panel(tests: pd.DataFrame) -> Description:
    """Describe `figures.draw_panel`."""
    found = "; ".join(
        f"{row['label']}: r = {tables.display(row['effect'], 'r')}, "
        f"family-wise p {tables.equals(row['p_fwe'])}"
        for row in tests.to_dict("records")
    )
    alt = f"Correlation of attenuation with each receptor map, target on top. {found}."
    target = tests[tests["target"].astype(str).str.lower() == "true"].iloc[0]
    caption = (
        f"Specificity over {_range(tests, 'n_parcels')} parcels "
        f"({', '.join(dict.fromkeys(tests['contrast']))}). Symbols: r of attenuation with each "
        "map; grey band: middle 95 % of that map's null. p family-wise over maps by the "
        "smallest p, under surrogates that all maps share; band and p are of the "
        f"nulls that decide ({tests['null_method'].iloc[0]}). For the target, family-wise p "
        f"{tables.equals(target['p_fwe'])}{_beside(target, 'p_fwe')}. r above 0: attenuation is "
        "higher where binding is higher."
    )
    return Description(alt, caption)


def describe_coupling(test: Mapping, *, act: str) -> Description:
    """Describe `figures.draw_coupling` from its row of the tests."""
    r = _estimate(test, "r")
    alt = (
        f"Scatter of relief against coupling with {test['receptor']}: r = {r}"
        f"{_hangs_on(test)}."
    )
    caption = (
        f"Relief against coupling with {test['receptor']} ({test['contrast']}); a mark is a "
        f"subject (n = {test['n']}). {_of_correlations(pd.DataFrame([test]))}Pearson r = {r}, "
        f"p {tables.equals(test['p'])} by permuting relief over subjects. "
        f"{_coupling_decided(test)}Coupling above 0: the subject's attenuation is higher where "
        f"binding is higher; {HELPED.format(act=act)}."
    )
    return Description(alt, caption)


def _coupling_decided(test: Mapping) -> str:
    if test.get("model") != ADJUSTED:
        return ""
    r = tables.display(test["partial_r"], "r")
    p = tables.equals(test["p_partial"])
    return f"The verdict rests on r at equal measured baselines: {r}, p {p}. "


def describe_rois(names: list[str], definition: str) -> Description:
    """Describe `figures.draw_rois`."""
    listed = ", ".join(names)
    alt = f"Glass brains from the left, behind and above with the outlines of {listed}."
    caption = (
        f"The ROIs of definition {definition} ({listed}), seen through the brain in MNI "
        "space; L and R mark the sides. An outline is the ROI's shadow: ROIs that overlap "
        "here need not touch."
    )
    return Description(alt, caption)


def describe_coverage(min_coverage: float, n: str) -> Description:
    """Describe `figures.draw_coverage`."""
    gate = f"{min_coverage:g}"
    alt = f"Heat map of coverage, ROIs by subjects; crosses mark cells below {gate}."
    caption = (
        f"Proportion of each ROI that the images of each of {n} subjects cover (of several "
        f"images the worst). Crosses: below {gate}, excluded and listed in the table of exclusions."
    )
    return Description(alt, caption)


def describe_cells(n: str, what: str, *, rated: bool) -> Description:
    """Describe `figures_quality.draw_cells`."""
    ratings = " and, by contrast, a rating" if rated else ""
    alt = (
        f"Grid of what each person has, a column per subject: {what} of every condition and "
        f"cue{ratings}. Crosses mark what is missing."
    )
    caption = (
        f"What each of {n} people has: {what} of every condition and cue{ratings}. Full cells "
        f"are there; pale ones hold fewer {what} than others have; a cross marks what is "
        "missing, of people who were left out everything. Who and why stands in the table of "
        "exclusions."
    )
    return Description(alt, caption)


def describe_registration(table: pd.DataFrame) -> dict[str, Description]:
    """Describe the sheets of `figures_quality.draw_registration`, by name of the figure."""
    covered = sorted(table["template_covered"].astype(float))
    ends = [tables.display(share, "share") for share in (covered[0], covered[-1])]
    found = " to ".join(dict.fromkeys(ends))
    names = name_sheets(len(table))
    order = beyond = ""
    if len(names) > 1:
        order = ", from those least like the template (lowest Dice) on"
    if len(names) > SHEETS_SHOWN:
        beyond = (
            f" The page shows {SHEETS_SHOWN} of {len(names)} sheets; all are in figures/, up to "
            f"{names[-1]}, and everyone is in qc/registration.tsv."
        )
    return {
        name: Description(
            f"Outlines of {len(rows)} people's images on the MNI template in three planes. Of the "
            f"template's brain they cover {found} over all {len(table)} people.",
            f"Registration check, {len(rows)} of {len(table)} people{order}. Outline: what all "
            "images of "
            "a person measured, on the MNI152 template (ICBM 2009a) in the planes x = 2, y = 10 "
            "and z = 0 mm, left is left. It should run along the brain; images that were not "
            "masked reach beyond it, up to the edge of the field of view. Beside the name: share "
            f"of the template's brain that is covered.{beyond}",
        )
        for name, rows in registration_sheets(table).items()
    }


def registration_sheets(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Deal the people of qc/registration.tsv to the sheets that are drawn, by name.

    On several sheets, those come first whose images are least like the template.
    """
    names = name_sheets(len(table))
    if len(names) > 1:
        dice = pd.to_numeric(table["dice_template"], errors="coerce")
        table = table.loc[dice.sort_values(kind="stable", na_position="first").index]
    return {
        name: table.iloc[i * PER_SHEET : (i + 1) * PER_SHEET]
        for i, name in enumerate(names)
    }


def name_sheets(n_subjects: int) -> list[str]:
    """Name the sheets of outlines that this many people take.

    Examples
    --------
    >>> name_sheets(40), name_sheets(41)
    (['registration'], ['registration-1', 'registration-2'])
    """
    n = max(-(-n_subjects // PER_SHEET), 1)
    stem = "registration"
    return [stem] if n == 1 else [f"{stem}-{i + 1}" for i in range(n)]


def describe_runs(summary: Mapping, limits: Mapping[str, float]) -> Description:
    """Describe `figures_quality.draw_runs`.

    `summary` is the row of qc/summary.tsv. `limits` are those of the figure, and with
    scrubbing fd_threshold_mm and std_dvars_threshold.
    """
    counts = {
        name: tables.display(summary[name], tables.kind_of(name))
        for name in ("n_runs", "n_subjects", "df_low", "df_high", "n_warned")
    }
    share, r = (
        {name: tables.display(limits[name], kind) for name in names}
        for kind, names in (
            ("share", ("max_censored", "warn_high_pass")),
            ("r", ("warn_motion",)),
        )
    )
    scrubbed = (
        f", framewise displacement above {limits['fd_threshold_mm']:g} mm or standardised "
        f"DVARS above {limits['std_dvars_threshold']:g}"
        if "fd_threshold_mm" in limits
        else ""
    )
    alt = (
        "Six panels with a mark per run, subjects from left to right: mean framewise "
        "displacement, share of volumes censored, degrees of freedom, and of the run's cells "
        "the largest variance-inflation factor, correlation with motion and share removed by "
        f"the high-pass. {counts['n_runs']} runs of {counts['n_subjects']} subjects; "
        f"{counts['df_low']} to {counts['df_high']} degrees of freedom; runs with warnings: "
        f"{counts['n_warned']}."
    )
    caption = (
        f"Quality of the {counts['n_runs']} runs of {counts['n_subjects']} subjects; a mark is "
        "a run, and a ring lies around what is over a line. Censored: before the steady "
        f"state{scrubbed}; a study with more than {share['max_censored']} of a run censored is "
        "refused. Degrees of freedom: volumes kept less the rank of the design. A cell is a "
        "condition with a cue. Variance-inflation factor: of its regressor among all columns "
        f"of the design, warned of above {limits['warn_vif']:g} and refused above "
        f"{limits['max_vif']:g}. Task and motion: correlation of its regressor with the six "
        "parameters of the head and framewise displacement, the largest without its sign; "
        f"warned of above {r['warn_motion']}. High-pass: share of the regressor's variance that "
        f"the drifts of the design explain; warned of above {share['warn_high_pass']}."
    )
    return Description(alt, caption)


def describe_tsnr(n: str) -> Description:
    """Describe `figures_quality.draw_tsnr`."""
    alt = "Heat map of the temporal signal-to-noise ratio, ROIs by subjects."
    caption = (
        f"Temporal signal-to-noise ratio of each ROI in each of {n} subjects: mean signal over the "
        "standard deviation of what the model leaves, averaged over runs and over the voxels "
        "of the ROI that were measured. Where it is low, an effect is estimated poorly."
    )
    return Description(alt, caption)


def describe_calibration(table: pd.DataFrame) -> dict[str, Description]:
    """Describe `figures_calibration.draw_rates` and `draw_power`."""
    own = of_own_size(table)
    n = tables.display(own["n_subjects"].iloc[0], "count")
    cohorts = tables.display(own["n_replicates"].iloc[0], "count")
    found = "; ".join(
        f"{row['world']}, {row['question']} {row['test']}: {_rate(row)}"
        for row in own[own["decides"] == "true"].to_dict("records")
        if row["test"] != "supported" or row["question"] == "Q5"
    )
    rates = Description(
        f"Rates of rejection in simulated worlds, one panel each. {found}.",
        f"How often a study of these {n} people rejects, {cohorts} simulated studies per world, "
        "with their own noise, gaps, receptor map, nulls and thresholds; bars are Clopper-Pearson "
        "intervals. Worlds: nothing there; a real attenuation with no bond to the receptor map, "
        "drawn afresh each time and as smooth as the map; one that follows the map, with relief "
        "that goes with it; one that runs from the back of the brain to the front"
        f"{_of_baselines(own)}. Circles: rejecting is an error, and its rate should not exceed "
        "the dashed line at alpha beyond chance (of what is one-sided, such as the verdict "
        "supported, half of alpha); squares: it is right, and the rate is power (of tests on "
        "either side; the verdict supported has the right sign); diamonds: attenuation does go "
        "with the map, but not because of the receptor. Full marks decide, hollow ones stand "
        "beside them. The scale is that of the root of the share.",
    )
    curve = table[(table["world"] == "follows") & (table["test"] == "supported")]
    most = max(curve["n_subjects"], key=float, default="")
    ends = "; ".join(
        f"{row['question']} with {row['n_subjects']} people: {_rate(row)}"
        for row in curve[curve["n_subjects"].isin([n, most])].to_dict("records")
    )
    power = Description(
        f"Power against the number of people, one line per question. {ends}.",
        "How often each question ends in supported where attenuation follows the receptor map "
        "and relief goes with it, by number of people; bands are Clopper-Pearson intervals, the "
        "upright line is this study. What is planted: "
        + "; ".join(
            f"{row['question']} {WHAT[row['question']]} {tables.display(row['planted'], 'r')}"
            for row in curve.drop_duplicates("question").to_dict("records")
        )
        + ". Beside the names: people needed for the power of verdicts.power, the grey line.",
    )
    return {"calibration": rates, "power": power}


def _of_baselines(own: pd.DataFrame) -> str:
    if "baselines" not in set(own["world"]):
        return ""
    return (
        "; one that has no bond to the map either, nor to relief, but in which score and response "
        "alone go together over people as they do in this study"
    )


def sum_up_calibration(table: pd.DataFrame, needed: pd.DataFrame) -> list[str]:
    """Say in sentences what the calibration found; tables as text."""
    own = of_own_size(table)
    n = tables.display(own["n_subjects"].iloc[0], "count")
    deciding = own[own["decides"] == "true"].to_dict("records")
    power = [
        f"{row['question']} in {tables.display(row['rate'], 'share')} ("
        f"{WHAT[row['question']]} {tables.display(row['planted'], 'r')})"
        for row in deciding
        if row["world"] == "follows"
        and row["test"] == "supported"
        and row["meaning"] == "right"
    ]
    errors = [row for row in deciding if row["is_error"] == "true"]
    broken = [row for row in errors if row["holds"] == "no"]
    sentences = []
    if power:
        sentences.append(
            f"With {n} people, where the hypotheses are true, a study like this one ends in "
            f"supported: {', '.join(power)}."
        )
    if not broken:
        sentences.append(
            f"Where they are false, each of the {len(errors)} rates of error of what decides is at "
            "most alpha (supported: half of alpha), within the chance of the simulation."
        )
    else:
        listed = "; ".join(
            f"{row['question']}, {row['test']}, world {row['world']}: {_rate(row)}"
            for row in broken
        )
        sentences.append(
            f"Of the {len(errors)} rates of error of what decides, {len(broken)} exceed alpha "
            "(supported: half of alpha) by more than the chance of the simulation: "
            f"{listed}. Read these verdicts with that in mind."
        )
    confounded = [
        row
        for row in deciding
        if row["meaning"] == "confounded" and row["test"] != "supported"
    ]
    sentences += [
        "Attenuation that only runs from the back of the brain to the front goes with this "
        f"receptor map by r = {tables.display(row['planted'], 'r')}, and {row['test']} of "
        f"{row['question']} reject in {_rate(row)}: true of the map, not of the receptor alone."
        for row in confounded
    ]
    if len(needed):
        listed = ", ".join(
            f"{row['question']} {row['note']}{_between(row)}"
            for row in needed.to_dict("records")
        )
        share = tables.display(needed["power"].iloc[0], "share")
        sentences.append(f"People needed for {share} power: {listed}.")
    return sentences


def of_own_size(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of a calibration that have as many people as the study."""
    # worlds but the one of the power curves are simulated at this size alone
    n = table.loc[table["world"] == "nothing", "n_subjects"].iloc[0]
    return table[table["n_subjects"] == n]


def _rate(row: Mapping) -> str:
    shown = tables.interval(row["low"], row["high"], "share")
    return f"{tables.display(row['rate'], 'share')} {shown}"


def _between(row: Mapping) -> str:
    if tables.is_missing(row["n_subjects"]):
        return ""
    low, high = (
        tables.MISSING if tables.is_missing(row[bound]) else f"{float(row[bound]):.0f}"
        for bound in ("low", "high")
    )
    return f" [{low}, {high}]"


def _estimate(row: Mapping, kind: str) -> str:
    low_high = tables.interval(row["low"], row["high"], kind)
    return f"{tables.display(row['effect'], kind)} {low_high}"


def _beside(test: Mapping, column: str) -> str:
    """Say what the map nulls gave that do not decide, in brackets; nothing if there are none."""
    others = other_families(test, column)
    found = [f"{name} p {tables.equals(p)}" for name, p in others.items()]
    return f" (other families, beside it: {', '.join(found)})" if found else ""


def _range(tests: pd.DataFrame, column: str) -> str:
    """Write the values of a count column: one number, or the first to the last."""
    counts = sorted({float(v) for v in tests[column] if not tables.is_missing(v)})
    if not counts:
        return tables.MISSING
    ends = [tables.display(c, "count") for c in (counts[0], counts[-1])]
    name = "n = " if column == "n" else ""
    return name + (ends[0] if ends[0] == ends[1] else " to ".join(ends))
