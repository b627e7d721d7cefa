"""The checklist that reviewers ask for: what COBIDAS wants reported, answered where we know.

Items after Nichols et al. (2017), Nat. Neurosci. 20(3), 299-303, and the report of its committee,
in our own words. An item is filled from the facts of the methods text, names the table where its
numbers stand, or is left to the author; none is answered by guessing.
"""

import re
from collections.abc import Mapping

import pandas as pd

from handhold.references import CITATION

AUTHOR, FILLED, IDLE = "author", "handhold", "not applicable"
BLANK = "to be filled in by the author"


def fill_checklist(facts: Mapping, results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Fill the checklist.

    Parameters
    ----------
    facts : mapping
        As `handhold.methods.gather` returns them, citations in brackets taken out or not.
    results : mapping of str to DataFrame
        Results tables by path without '.tsv'.

    Returns
    -------
    DataFrame
        Columns section, item, answer, filled_by (handhold, author or not applicable) and
        found_in (a table or file of the results).
    """
    rows = [
        (section, item, *_answer(answer), found)
        for section, items in _items(facts, results).items()
        for item, answer, found in items
    ]
    columns = ["section", "item", "answer", "filled_by", "found_in"]
    return pd.DataFrame(rows, columns=columns)


class _Idle(str):
    """Why an item does not apply."""


def _answer(answer: str | None) -> tuple[str, str]:
    if isinstance(answer, _Idle):
        return str(answer), IDLE
    return (answer, FILLED) if answer else (BLANK, AUTHOR)


def _items(facts: Mapping, results: Mapping) -> dict[str, list[tuple]]:
    """List (item, answer or nothing, where) by section."""
    return {
        "Experimental design": _design(facts),
        "Acquisition": _acquisition(facts),
        "Preprocessing": _preprocessing(facts),
        "Statistical modelling": _modelling(facts, results),
        "Results": _results(facts, results),
        "Data sharing": _sharing(facts),
        "Reproducibility": _reproducibility(facts),
    }


def _design(facts: Mapping) -> list[tuple]:
    simulated = facts["source"] == "simulated"
    nobody = _Idle("nobody was scanned: the data are simulated") if simulated else None
    left_out = facts["left_out"] or "nobody was left out before the analysis"
    return [
        ("Number of people, and who was left out, with reasons", f"{facts['n']} analysed; "
         f"{left_out}", "exclusions.tsv"),
        ("How people were found, and criteria to take part", nobody, ""),
        ("Age, sex and other traits of the people", facts["people"] or nobody, ""),
        ("Ethics approval and consent", nobody, ""),
        ("How the number of people was chosen (power)", "rates of rejection and people needed "
         "are in the calibration" if facts["calibration"] else None,
         "sample_size.tsv" if facts["calibration"] else ""),
        ("Type of design, conditions and contrasts", f"{_conditions(facts)}; contrasts: "
         f"{facts['contrasts']}", "provenance/config.yaml"),
        ("Number, length and order of blocks, trials and runs", _trials(facts),
         "qc/regressors.tsv" if facts["runs"] else ""),
        ("Stimuli, instructions and equipment", nobody, ""),
        ("Behaviour: what was measured, and how it went", f"{facts['rating']}; known for "
         f"{facts['rated']['contrasts']} ({facts['rated']['n']} people)" if facts["rated"]
         else None, "relief.tsv" if facts["rated"] else ""),
    ]  # fmt: skip


def _conditions(facts: Mapping) -> str:
    if not facts["cells"]:
        return "the images hold contrasts"
    return f"conditions {facts['conditions']}, each with the cues {facts['cues']}"


def _trials(facts: Mapping) -> str | None:
    runs = facts["runs"]
    if not runs:
        return None
    return (
        f"{runs['n_runs']} runs of {runs['n_subjects']} people, {runs['total_volumes']} volumes; "
        "events and their durations by run and cell are in the table"
    )


def _acquisition(facts: Mapping) -> list[tuple]:
    scans, idle = facts["scan_values"], None
    if facts["source"] == "simulated":
        idle = _Idle("no scanner: the series are simulated")

    def told(*names: str) -> str | None:
        found = [f"{name} {scans[name]}" for name in names if name in scans]
        return "; ".join(found) or idle

    return [
        ("Scanner: maker, model, field strength, coil",
         told("institution", "manufacturer", "scanner", "field strength", "receive coil"), ""),
        ("Sequence and its timing: type, TR, TE, flip angle",
         told("pulse sequence", "acquisition", "repetition time", "echo time", "flip angle"), ""),
        ("Geometry: voxel size, field of view, number and order of slices",
         told("slice thickness", "phase encoding", "total readout time"), ""),
        ("Acceleration (multiband, in-plane)",
         told("multiband factor", "in-plane acceleration"), ""),
        ("Volumes per run, and those discarded by the scanner",
         told("volumes discarded by the scanner")
         if "volumes discarded by the scanner" in scans or not facts["runs"]
         else f"{facts['runs']['total_volumes']} volumes in all; by run in the table",
         "qc/runs.tsv" if facts["runs"] else ""),
        ("Field maps and structural images", idle, ""),
        ("Preparation of people, and measures against motion", idle, ""),
        ("Quality control during acquisition", idle, ""),
    ]  # fmt: skip


def _preprocessing(facts: Mapping) -> list[tuple]:
    made = _bare(facts["preprocessing"])
    if facts["source"] == "simulated":
        idle = _Idle("simulated in standard space: nothing was preprocessed")
    else:
        idle = f"as {made} does by default; options to be checked" if made else None
    runs = facts["runs"]
    given = f"{made}; space {facts['space']}" if made else None
    return [
        ("Software and version", idle if isinstance(idle, _Idle) else given, ""),
        ("Slice timing, realignment, distortion correction", idle, ""),
        ("Registration to structure and template; space of the analysis",
         f"space {facts['space']}" if runs else None, "manifest.tsv"),
        ("Smoothing", _bare(facts["smoothing"]) if runs else None,
         "provenance/config.yaml" if runs else ""),
        ("Confounds and censoring", f"{_bare(facts['confounds'])}; {runs['total_censored']} "
         f"volumes ({runs['share_censored']}) censored, at most {runs['highest_censored']} of a "
         "run" if runs else None, "qc/runs.tsv" if runs else ""),
        ("Voxels and regions left out for lack of signal",
         f"regions covered to less than {facts['min_coverage']} of a person are missing",
         "exclusions.tsv"),
        ("Quality control: motion and artefacts", f"mean framewise displacement "
         f"{runs['average_fd']} mm on average; runs with warnings: {runs['n_warned']}"
         if runs else None, "qc/review.tsv" if runs else ""),
    ]  # fmt: skip


def _modelling(facts: Mapping, results: Mapping) -> list[tuple]:
    runs, absent = facts["runs"], None
    return [
        ("What is modelled, and in which unit", f"regional means, {facts['unit']}",
         "regions/rois.tsv"),
        ("First level: regressors, timing, haemodynamic response",
         f"{facts['regressors']}; {facts['hrf']}" if runs else absent,
         "qc/regressors.tsv" if runs else ""),
        ("First level: drift, noise and autocorrelation", _bare(
         f"{facts['drift']} {facts['noise']}") if runs else absent,
         "provenance/config.yaml" if runs else ""),
        ("Collinearity of the design", f"largest variance-inflation factor "
         f"{facts['largest_vif']}" if runs else absent, "qc/regressors.tsv" if runs else ""),
        ("Regions: how defined, and whether before the data", _regions(facts),
         "regions/definitions.tsv"),
        ("Group model: people as a random sample, dependence and repeats",
         "one value per person, region and contrast; people are the sample",
         "attenuation/rois.tsv"),
        ("Tests, one- or two-sided, and assumptions",
         "sign flips and permutations over people and surrogate maps, two-sided; see the methods "
         "text", "provenance/config.yaml"),
        ("Correction for many tests", _families(facts), "tests/attenuation.tsv"),
        ("Power and sensitivity", "the smallest effect that a single test detects stands in the "
         "tables of tests", "tests/attenuation.tsv"),
        ("Maps that were compared", f"{_bare(facts['target'])}; panel of {facts['n_panel']}",
         "receptors/parcels.tsv"),
        ("Spatial dependence of maps", _bare(facts["q2"]["nulls"]) if facts["q2"] else None,
         "tests/correspondence.tsv"),
        ("Functional connectivity", _Idle("none was analysed"), ""),
        ("Multivariate prediction", _Idle("none was analysed"), ""),
    ]  # fmt: skip


def _families(facts: Mapping) -> str:
    families = {
        "q1": "ROIs and contrasts (Q1)",
        "q3": "ROIs (Q3)",
        "q5": "receptor maps (Q5)",
    }
    told = ", ".join(words for name, words in families.items() if facts[name])
    return f"family-wise over {told}, by the largest statistic or the smallest p"


def _regions(facts: Mapping) -> str:
    named = ", ".join(each["name"] for each in facts["definitions"])
    return f"definitions {named}; whether before the data is the author's to say"


def _results(facts: Mapping, results: Mapping) -> list[tuple]:
    tables = [name for name in results if name.startswith("tests/")]
    return [
        ("Every test that was run, whatever its outcome", f"{len(tables)} tables of tests",
         "tests/"),
        ("Effects with their unit and interval", f"{facts['level']} intervals",
         "tests/attenuation.tsv"),
        ("p values, uncorrected and corrected; Bayes factors", "in every table of tests",
         "tests/attenuation.tsv"),
        ("Data of every person", "values by person, region and contrast", "attenuation/rois.tsv"),
        ("Unthresholded maps", "mean attenuation by contrast", "group/"),
        ("What was planned and not run, with the reason", facts["not_run"] or "nothing",
         "verdicts.json"),
        ("What depends on a choice of analysis", "other ROI definitions, coverage, prior widths "
         "and families of nulls stand beside the headline", "tests/sensitivity.tsv"),
    ]  # fmt: skip


def _sharing(facts: Mapping) -> list[tuple]:
    return [
        ("Where data are shared, under which licence and terms of consent", None, ""),
        ("Identifier (DOI) of the data", facts["doi"], ""),
        ("Form of the data", "Brain Imaging Data Structure" if facts["runs"] else None, ""),
        ("Derived data", "this folder is a BIDS derivatives dataset; each table has a JSON "
         "sidecar", "dataset_description.json"),
        ("Atlases and maps of others, with licences", "named with licence and checksum",
         "provenance/inputs.tsv"),
    ]  # fmt: skip


def _reproducibility(facts: Mapping) -> list[tuple]:
    versions = facts["versions"]
    return [
        ("Software, with versions", f"handhold {versions['handhold']}, Snakemake "
         f"{versions['snakemake']}, Python {versions['python']}", "provenance/versions.json"),
        ("Code of the analysis, and where it is kept", None, ""),
        ("Every parameter", "the configuration with all defaults filled in",
         "provenance/config.yaml"),
        ("Seeds of random numbers", f"{facts['seed']}"
         + (f"; surrogate maps {facts['null_seed']}" if facts["null_seed"] else ""),
         "provenance/config.yaml"),
        ("Checksums of what went in and came out", "SHA-256 of every input and results table",
         "provenance/results.tsv"),
        ("The command", "as typed", "provenance/command.txt"),
        ("Preregistration", None, ""),
    ]  # fmt: skip


def _bare(text: str) -> str:
    """Take the citations out of a text: the checklist stands without the list of references."""
    return re.sub(r"\s+(?=[,.;)]|$)", "", CITATION.sub("", text)).strip()
