"""The text for the paper: what was done, and what came out, told from what ran.

Counts come from the results tables, choices of the first level from the sidecar of an effect
image, choices of the tests from the resolved configuration, and a method is named only where a
table holds what it gave. The prose is workflow/report/text.md.jinja; here are its facts, and the
forms in which the text leaves: numbered Markdown, LaTeX with BibTeX, and paragraphs for the page.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import jinja2
import pandas as pd

from handhold import tables
from handhold.references import CITATION, Reference, cite, cited, find_works, number
from handhold.verdicts import ADJUSTED, TESTS, word_fact

# An ROI whose source names this work is hypothesised after it.
COAN = "10.1111/j.1467-9280.2006.01832.x"
DRAWN_FROM = {
    "moran": "Moran spectral randomisation [@wagner2015]",
    "variogram": "variogram matching [@burt2020]",
    "gaussian": "Gaussian fields with fitted covariance [@cressie1993]",
}
MOTION = {
    "basic": "6 motion parameters",
    "derivatives": "6 motion parameters and their derivatives",
    "power2": "6 motion parameters and their squares",
    "full": "24 motion parameters [@friston1996]",
}
EXPANDED = {
    "basic": "",
    "derivatives": ", with derivatives",
    "power2": ", with squares",
    "full": ", with derivatives and the squares of both",
}
HRF = {
    "spm": "SPM's canonical haemodynamic response",
    "glover": "Glover's canonical haemodynamic response",
}
COMPCOR = {
    "anat_combined": "anatomical",
    "anat_separated": "anatomical (white matter and fluid apart)",
    "temporal": "temporal",
    "temporal_anat_combined": "temporal and anatomical",
    "temporal_anat_separated": "temporal and anatomical (white matter and fluid apart)",
}
# What the results say of each row that a verdict rests on: words, column, kind; bounds as pairs.
TOLD = {
    "Q1": ("mean", "effect", "low", "high", "p_fwe", "family-wise p"),
    "Q2": ("r", "effect", None, None, "p", "p"),
    "Q3": ("r", "effect", "low", "high", "p_fwe", "family-wise p"),
    "Q4": ("r", "effect", "low", "high", "p", "p"),
    "Q5": ("r", "effect", None, None, "p_fwe", "family-wise p"),
}
_PARTIAL = ("r at equal baselines", "partial_r", "partial_low", "partial_high")
ADJUSTED_TOLD = {
    "Q3": (*_PARTIAL, "p_partial_fwe", "family-wise p"),
    "Q4": (*_PARTIAL, "p_partial", "p"),
}


@dataclass(frozen=True)
class Paper:
    """The text: `blocks` of (level, text), level 0 a paragraph; `works` in the order cited."""

    blocks: tuple[tuple[int, str], ...]
    works: tuple[Reference, ...]

    @property
    def numbered(self) -> list[tuple[int, str]]:
        """The blocks with citations as numbers."""
        order = [work.key for work in self.works]
        return [(level, number(text, order)) for level, text in self.blocks]

    @property
    def markdown(self) -> str:
        """The text with numbered references, ready to paste."""
        lines = [
            f"{'#' * level} {text}".strip() if level else text
            for level, text in self.numbered
        ]
        listed = [f"{i}. {work.plain}" for i, work in enumerate(self.works, 1)]
        return "\n\n".join([*lines, "# References", "\n".join(listed)]) + "\n"

    @property
    def bibtex(self) -> str:
        """The works as BibTeX, in the order cited."""
        return "\n".join(work.bibtex for work in self.works)

    @property
    def latex(self) -> str:
        r"""The text as LaTeX sections that cite references.bib, for \input."""
        commands = {1: "section", 2: "subsection"}
        pieces = []
        for level, text in self.blocks:
            tex = _latex(text)
            pieces.append(rf"\{commands[level]}{{{tex}}}" if level else tex)
        closing = ["\\bibliographystyle{unsrt}", "\\bibliography{references}"]
        return "\n\n".join(["% \\input this; needs UTF-8.", *pieces, *closing]) + "\n"


def write_paper(
    results: Mapping[str, pd.DataFrame],
    verdicts: Mapping,
    study: Mapping,
    template: str,
    library: Mapping[str, Reference],
) -> Paper:
    """Write what was done and what came out.

    Parameters
    ----------
    results : mapping of str to DataFrame
        Results tables as text, under their path without '.tsv'; what did not run is not in it.
    verdicts : mapping
        verdicts.json.
    study : mapping
        source, act, unit (str), rating (str, what was rated), config (resolved), versions,
        maps and atlases (rows of the registries, the target first), others (trial types of no
        interest), no_trials (str), effect (sidecar of an effect image, or empty), acquisition
        (see `handhold.acquisition`, or empty).
    template : str
        workflow/report/text.md.jinja.
    library : mapping of str to Reference
    """
    works = dict(library)
    facts = gather(results, verdicts, study, works)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    blocks = _blocks(environment.from_string(template).render(facts))
    order = cited("\n".join(text for _, text in blocks))
    return Paper(tuple(blocks), tuple(works[key] for key in order if key in works))


def gather(
    results: Mapping[str, pd.DataFrame],
    verdicts: Mapping,
    study: Mapping,
    works: dict[str, Reference],
) -> dict:
    """Gather the facts of the text, rounded for reading; adds unknown works to `works`."""
    config = study["config"]
    chosen, manifest = config["tests"], results["manifest"]
    facts = {
        **{name: study[name] for name in ("source", "act", "unit", "versions")},
        "rating": study.get("rating", ""),
        "n": _count(manifest["subject"].nunique()),
        "n_images": _count(len(manifest)),
        "left_out": _left_out(results["exclusions"]),
        **_of_dataset(study.get("acquisition") or {}, config),
        **_of_conditions(config["contrasts"], study["act"]),
        "runs": None,
        "rated": _of_ratings(results),
        **_of_regions(results, study, works),
        "parcels": _of_parcels(results, study, works),
        **_of_maps(study, works),
        "low_coverage": _low_coverage(config),
        "level": tables.display(chosen["level"], "share"),
        **{
            f"n_{name}": f"{chosen[f'n_{name}']:,}"
            for name in ("bootstrap", "permutations")
        },
        **{
            name.lower(): found(results, config) if path in results else None
            for (name, path), found in zip(TESTS.items(), _STATISTICS, strict=True)
        },
        "within": _of_trials(results),
        "alpha": f"{verdicts['rule']['alpha']:.3g}",
        "primary": _words(config["contrasts"][0]["name"]),
        "n_contrasts": len(config["contrasts"]),
        "rules": _rules(verdicts["rule"]),
        "sensitivity": _if(
            "tests/sensitivity" in results,
            _share(config["regions"]["sensitivity_coverage"]),
        ),
        "calibration": _of_calibration(results),
        "not_run": _not_run(verdicts, study),
        "seed": config["seed"],
        "null_seed": config["nulls"].get("seed"),
        "answers": [
            tell(question, study["unit"], chosen["level"])
            for question in verdicts["questions"]
        ],
    }
    if "qc/summary" in results:
        facts |= _of_runs(results, study)
    return facts


def tell(question: Mapping, unit: str, level: float) -> str:
    """Tell a question's answer: verdict, sentence, the numbers that it rests on, the reason.

    `unit` is that of attenuation, `level` that of the intervals.
    """
    name = question["question"]
    rows = pd.DataFrame(question.get("inputs") or [])
    text = f"{name} ({question['verdict']}). {question['sentence']}"
    if len(rows):
        is_adjusted = "model" in rows and (rows["model"] == ADJUSTED).all()
        told = ADJUSTED_TOLD if is_adjusted and name in ADJUSTED_TOLD else TOLD
        span = f"{tables.display(level, 'share')} interval"
        records = rows.to_dict("records")
        each = [_tell_row(name, row, told[name], unit, span) for row in records]
        text += f" {_sentence('; '.join(each))}"
    return f"{text} Reason: {_sentence(question['reason'])}"


def listed(words: Iterable[str]) -> str:
    """Join words as a sentence lists them.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    words = list(words)
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _tell_row(name: str, row: Mapping, told: Sequence, unit: str, span: str) -> str:
    words, effect, low, high, p, words_p = told
    kind = tables.kind_of("effect", name)
    place = f"{row['region']}: " if name in {"Q1", "Q3"} else ""
    text = f"{place}{words} = {tables.display(row[effect], kind)}"
    text += f" {unit}" if name == "Q1" and unit else ""
    if low:
        text += f", {span} {tables.interval(row[low], row[high], kind)}"
    text += f", {words_p} {tables.equals(row[p])}"
    if name == "Q2":
        text += (
            f" (map null p {tables.equals(row['p_map'])}, subject null p "
            f"{tables.equals(row['p_subject'])})"
        )
    bayes = {"partial_r": "bf10_partial"}.get(effect, "bf10")
    if not tables.is_missing(row.get(bayes)):
        of_mean = " for people's mean correlation" if name == "Q2" else ""
        text += f", BF10{of_mean} = {tables.display(row[bayes], 'effect')}"
    n = row.get("n", row.get("n_parcels"))
    return f"{text}, {'n' if 'n' in row else 'parcels'} = {tables.display(n, 'count')}"


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


# --- People, conditions, runs ----------------------------------------------------------


def _left_out(exclusions: pd.DataFrame) -> str:
    """List what did not enter the analysis at all, each kind and reason once, with its number."""
    own = exclusions[exclusions["stage"] == "manifest"]
    counts = own.assign(n=pd.to_numeric(own["n"], errors="coerce").fillna(1))
    found = []
    for (what, reason), rows in counts.groupby(["what", "reason"], sort=False):
        people = (
            rows["subject"].nunique() if what == "subject" else int(rows["n"].sum())
        )
        found.append(f"{_plural(people, what)} ({reason})")
    return "; ".join(found)


def _of_dataset(acquisition: Mapping, config: Mapping) -> dict:
    description = acquisition.get("dataset", {})
    named = " ".join(str(description.get("Name", "")).split())
    doi = description.get("DatasetDOI", "")
    told = [text for text in (named, f"doi {doi}" if doi else "") if text]
    scans = [
        f"{words} {value}" for words, value in acquisition.get("scans", {}).items()
    ]
    if acquisition.get("n_slice_timed"):
        scans.append("slice times are given")
    made = acquisition.get("derivatives", {}).get("GeneratedBy") or []
    programs = [
        f"{each['Name']} {each.get('Version', '(version not stated)')}"
        + (" [@esteban2019]" if each["Name"].lower() == "fmriprep" else "")
        for each in made
        if isinstance(each, Mapping) and each.get("Name")
    ]
    return {
        "dataset": f" ({', '.join(told)})" if told else "",
        "doi": f"doi {doi}" if doi else "",
        "scan_values": acquisition.get("scans", {}),
        "scans": "; ".join(scans),
        "people": "; ".join(acquisition.get("people", {}).values()),
        "preprocessing": listed(programs),
        "space": config.get("bids", {}).get("space", "MNI152NLin2009cAsym"),
    }


def _of_conditions(contrasts: Sequence[Mapping], act: str) -> dict:
    cells = [each for each in contrasts if "baseline" in each]
    names = [each[side] for each in cells for side in ("baseline", "held")]
    if cells:
        said = [
            f"{_words(c['name'])} ({c['baseline']} minus {c['held']})" for c in cells
        ]
    else:
        said = [
            f"{_words(each['name'])}, from the image {each['image']}"
            + (", turned round" if each["direction"] == "held_minus_baseline" else "")
            for each in contrasts
        ]
    said[0] += ", the primary one" if len(said) > 1 else ""
    return {
        "cells": bool(cells),
        "conditions": listed(dict.fromkeys(names)),
        "cues": "threat and safe",
        "contrasts": listed(said),
    }


def _of_ratings(results: Mapping) -> dict | None:
    if "relief" not in results:
        return None
    known = results["relief"]
    known = known[~known["relief"].map(tables.is_missing)]
    return {
        "contrasts": listed(map(_words, known["contrast"].unique())),
        "n": _count(known["subject"].nunique()),
    }


def _of_runs(results: Mapping, study: Mapping) -> dict:
    """Return the facts of the first level; its choices from the sidecar of an effect image."""
    row = results["qc/summary"].iloc[0]
    runs, cells = results["qc/runs"], results["qc/regressors"]
    config, sidecar = study["config"], study.get("effect") or {}
    glm = {**config["glm"], **config["confounds"]}
    used = {
        "hrf": sidecar.get("HRF", glm["hrf"]),
        "noise_model": sidecar.get("NoiseModel", glm["noise_model"]),
        "smoothing_mm": sidecar.get("SmoothingFWHM", glm["smoothing_mm"]),
        "peak_duration_s": sidecar.get("PeakDuration", glm["peak_duration_s"]),
    }
    regressors = dict.fromkeys(
        f"{row.condition}, {row.cue}" for row in cells.itertuples()
    )
    shown = {
        name: tables.display(row[name], tables.kind_of(name)) for name in row.index
    }
    vif = pd.to_numeric(cells["vif"], errors="coerce").max()
    by_run = cells.groupby(["subject", "session", "run"], dropna=False)
    alone = (by_run["condition"].nunique() == 1).all()
    return {
        "runs": shown,
        "conditions_apart": alone and cells["condition"].nunique() > 1,
        "regressors": "; ".join(sorted(regressors)),
        "others": listed(study.get("others", [])),
        "hrf": _hrf(used["hrf"]),
        "drift": _drift(glm),
        "confounds": _confounds(glm),
        "n_confounds": _range(runs["n_confounds"]),
        "scrubbed": "scrub" in glm["strategy"],
        "noise": {
            "ar1": "The noise of a voxel was modelled as autoregressive of order 1 "
            "[@worsley2002].",
            "ols": "The noise of a voxel was taken as white.",
        }[used["noise_model"]],
        "smoothing": f"Volumes were smoothed by {used['smoothing_mm']:g} mm (full width at "
        "half maximum)."
        if used["smoothing_mm"]
        else "Volumes were not smoothed.",
        "largest_vif": tables.display(vif, "effect"),
        "single_trials": glm["single_trials"],
        "glm": {
            **{
                name: f"{glm[name]:g}"
                for name in ("fd_threshold_mm", "std_dvars_threshold")
            },
            "scrub": glm["scrub"],
            "peak_duration_s": f"{used['peak_duration_s']:g}",
            "min_signal": _share(glm["min_signal"]),
        },
    }


def _hrf(name: str) -> str:
    stem, *added = name.split(" + ")
    more = f" and its {listed(f'{each} derivative' for each in added)}" if added else ""
    return (HRF[stem] + more).replace("derivative derivative", "time derivative")


def _drift(glm: Mapping) -> str:
    if glm["drift"] == "cosine":
        return (
            f"Cosines up to a period of {glm['high_pass_s']:g} s took up slow drifts."
        )
    return "The cosines of fMRIPrep's confounds took up slow drifts."


def _confounds(glm: Mapping) -> str:
    words = {
        "motion": MOTION[glm["motion"]],
        "wm_csf": "the mean signals of white matter and cerebrospinal fluid"
        + EXPANDED[glm["wm_csf"]],
        "global_signal": f"the global signal{EXPANDED[glm['global_signal']]}",
        "compcor": f"{glm['n_compcor']} {COMPCOR[glm['compcor']]} CompCor components of each "
        "mask [@behzadi2007]",
        "high_pass": "fMRIPrep's cosines",
    }
    return listed(words[name] for name in glm["strategy"] if name in words) or "none"


# --- Regions and maps ------------------------------------------------------------------


def _of_regions(results: Mapping, study: Mapping, works: dict) -> dict:
    """Return the ROI definitions that were used, each ROI with its volume and voxels."""
    table, rois = results["regions/definitions"], results["regions/rois"]
    atlases = {row["name"]: row for row in study["atlases"]}
    own = table[(table["kind"] == "roi") & (table["role"] == "hypothesised")]
    cells = results["exclusions"]
    cells = cells[(cells["stage"] == "coverage") & (cells["what"] == "ROI cell")]
    definitions = []
    for name, rows in own.groupby("definition", sort=False):
        used = [each for each in rows["atlas"].unique() if each in atlases]
        told = [_atlas(atlases[each], works) for each in used]
        definitions.append(
            {
                "name": name,
                "atlas": listed(told) or "spheres",
                "rois": listed(
                    _roi(row, rois[rois["definition"] == name])
                    for row in rows.to_dict("records")
                ),
            }
        )
    people = cells["subject"].nunique()
    return {
        "definitions": definitions,
        "of_coan": own["source"].str.contains(COAN, regex=False).any(),
        "min_coverage": _share(study["config"]["regions"]["min_coverage"]),
        "coverage": f" ({_plural(people, 'person', 'people')} lacked an ROI by this)"
        if people
        else " (nobody lacked one)",
    }


def _roi(row: Mapping, cells: pd.DataFrame) -> str:
    voxels = pd.to_numeric(cells.loc[cells["region"] == row["region"], "n_voxels"])
    volume = tables.display(row["volume"], "count")
    found = f"{row['region']} ({volume} mm³"
    return found + (f"; {_range(voxels)} measured voxels)" if len(voxels) else ")")


def _of_parcels(results: Mapping, study: Mapping, works: dict) -> dict:
    """Tell the parcels of the primary contrast, and why others were left out."""
    config, parcels = study["config"], results["correspondence/parcels"]
    parcels = parcels[parcels["contrast"] == config["contrasts"][0]["name"]]
    used = parcels[parcels["used"] == "true"]
    atlases = {row["name"]: row for row in study["atlases"]}
    defined = results["regions/definitions"]
    tiny = defined[(defined["kind"] == "parcel") & (defined["status"] != "kept")]
    reasons = [*tiny["status"], *parcels.loc[parcels["used"] != "true", "reason"]]
    dropped = [
        f"{reasons.count(each)} "
        f"({each.removeprefix('dropped: ').replace('mm^3', 'mm³')})"
        for each in dict.fromkeys(reasons)
    ]
    by = [f"{n} in {name}" for name, n in used["structure"].value_counts().items()]
    text = (
        f"Whole-brain parcels are those of {_atlas(atlases[config['regions']['parcels']], works)}: "
        f"{len(used)} entered the correspondence of {_words(config['contrasts'][0]['name'])} "
        f"({listed(by)})"
    )
    text += (
        f"; left out were {'; '.join(dropped)}." if dropped else "; none was left out."
    )
    return {"text": text}


def _of_maps(study: Mapping, works: dict) -> dict:
    target, *panel = [dict(row) for row in study["maps"]]
    # maps of one unit and licence together, so that neither is said of each
    groups: dict[tuple, list[str]] = {}
    for row in panel:
        named = f"{row['label']}{_cite(row, works)}"
        groups.setdefault((row["unit"], row["licence"]), []).append(named)
    told = [
        f"{listed(maps)} (unit: {unit}; licence: {licence})"
        for (unit, licence), maps in groups.items()
    ]
    return {
        "target": f"{target['label']}{_cite(target, works)} (unit: {target['unit']}; licence: "
        f"{target['licence']})",
        "is_modelled": target["citation"].startswith("modelled from"),
        "panel": "; ".join(told),
        "n_panel": _count(len(panel)),
    }


def _atlas(row: Mapping, works: dict) -> str:
    return f"the atlas {row['name']}{_cite(row, works)} (licence: {row['licence']})"


def _cite(row: Mapping, works: dict) -> str:
    """Cite the works of a row of a registry; nothing where it names none, as of a decoy."""
    if not re.search(r"\b(1[89]|20)\d\d\b|^10\.", f"{row['citation']} {row['doi']}"):
        return ""
    found = find_works(row["citation"], row["doi"], works)
    for work in found:
        works.setdefault(work.key, work)
    return f" {cite(found)}"


def _low_coverage(config: Mapping) -> str:
    least = _share(config["regions"]["min_coverage"])
    if config["receptors"]["low_coverage"] == "floor":
        return (
            f"Where a map covered less than {least} of a region, the value of its background "
            "counted as binding there."
        )
    return f"Regions that a map covered to less than {least} were left out."


# --- Statistics ------------------------------------------------------------------------


def _of_attenuation(results: Mapping, config: Mapping) -> dict:
    tests = results["tests/attenuation"]
    own = tests[tests["role"] == "hypothesised"]
    return {
        "flips": _draws(own, "sign flip", "over people"),
        "scale": f"{config['tests']['bayes_scale']:.3f}",
        "smallest": f"{config['tests']['smallest_dz']:g}",
        "interaction": "tests/interaction" in results
        and len(results["tests/interaction"]) > 0,
    }


def _of_correspondence(results: Mapping, config: Mapping) -> dict:
    tests = results["tests/correspondence"]
    primary = config["contrasts"][0]["name"]
    own = tests[(tests["scope"] == "all") & (tests["contrast"] == primary)]
    row = own[own["method"] == config["nulls"]["method"]].iloc[0]
    first, *others = [
        family for family in config["nulls"]["families"] if _has(row, f"p_{family}")
    ] or config["nulls"]["families"][:1]
    drawn = f"{_thousands(row['n_nulls'])} surrogates of the receptor map by {DRAWN_FROM[first]}"
    if first == "moran":
        drawn += f" ({config['nulls']['procedure']} procedure)"
    beside = listed(DRAWN_FROM[family] for family in others)
    voxels = tests[(tests["scope"] == "voxels") & (tests["contrast"] == primary)]
    voxels = voxels[~voxels["n_nulls"].map(tables.is_missing)]
    return {
        "n": tables.display(row["n"], "count"),
        "n_parcels": tables.display(row["n_parcels"], "count"),
        "method": {"spearman": "Spearman's rank correlation", "pearson": "Pearson's r"}[
            row["method"]
        ],
        "nulls": drawn,
        "beside": f" Beside them stand {config['nulls']['n_beside']:,} surrogates each by "
        f"{beside}, which decide nothing."
        if others
        else "",
        "voxels": _of_voxels(voxels),
        "rois": " The correlation over the hypothesised ROIs alone is descriptive."
        if (tests["scope"] == "rois").any()
        else "",
    }


def _of_voxels(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return (
        f" The same correlation over {_thousands(row['n_voxels'])} grey-matter voxels, against "
        f"{_thousands(row['n_nulls'])} Gaussian random fields [@dietrich1997], is beside it."
    )


def _of_tracking(results: Mapping, config: Mapping) -> dict:
    tests = results["tests/tracking"]
    own = tests[tests["role"] == "hypothesised"]
    reliability = results.get("reliability")
    known = [] if reliability is None else reliability["reliability"]
    known = [value for value in known if not tables.is_missing(value)]
    ceiling = [value for value in own["ceiling"] if not tables.is_missing(value)]
    text = (
        " Reliability is the intraclass correlation ICC(3,k) [@shrout1979]."
        if known
        else ""
    )
    if ceiling:
        text += " It bounds the correlation that can be observed [@spearman1904]."
    return {
        "permutations": _draws(own, "permutation", ""),
        "kappa": f"{config['tests']['bayes_kappa']:.3f}",
        "model": _model(own),
        "is_adjusted": _is_adjusted(own),
        "reliability": text,
    }


def _of_coupling(results: Mapping, config: Mapping) -> dict:
    tests = results["tests/coupling"]
    own = tests[tests["contrast"] == config["contrasts"][0]["name"]]
    shown = own if len(own) else tests
    return {"n": _range(shown["n"]), "model": _model(shown)}


def _of_specificity(results: Mapping, config: Mapping) -> dict:
    tests = results["tests/specificity"]
    own = tests[tests["contrast"] == config["contrasts"][0]["name"]]
    joint = results.get("tests/joint")
    shared = 0
    if joint is not None:
        of_primary = joint[joint["contrast"] == config["contrasts"][0]["name"]]
        shared = int((~of_primary["dominance"].map(tables.is_missing)).sum())
    return {
        "n": _count(len(own)),
        "n_parcels": _range(own["n_parcels"]),
        "partials": "tests/partials" in results,
        "joint": joint is not None,
        "dominance": _count(shared) if shared else "",
    }


_STATISTICS = (
    _of_attenuation,
    _of_correspondence,
    _of_tracking,
    _of_coupling,
    _of_specificity,
)


def _rules(rule: Mapping) -> str:
    """Word the rule table as it stood when the questions were judged."""
    return "; ".join(
        f"({i}) {listed(word_fact(fact, rule) for fact in line['if']) or 'otherwise'}: "
        f"{line['verdict']}"
        for i, line in enumerate(rule["rules"], 1)
    )


def _model(rows: pd.DataFrame) -> str:
    if _is_adjusted(rows):
        return (
            "The verdict rests on the correlation at equal baselines: response and score at "
            "baseline are held constant [@vickers2001], by permutation of residuals "
            "[@freedman1983; @winkler2014], with a BCa interval and a Bayes factor "
            "that counts two people fewer."
        )
    return (
        "Response and score at baseline are not both known, so that the two changes were "
        "correlated as they are."
    )


def _is_adjusted(rows: pd.DataFrame) -> bool:
    return "model" in rows and len(rows) > 0 and (rows["model"] == ADJUSTED).all()


def _draws(rows: pd.DataFrame, what: str, suffix: str) -> str:
    n = _thousands(pd.to_numeric(rows["n_permutations"], errors="coerce").max())
    exact = "exact" in rows and (rows["exact"] == "true").all()
    told = f"all {n} {what}s" if exact else f"{n} random {what}s"
    return f"{told} {suffix}".strip()


def _of_trials(results: Mapping) -> dict | None:
    table = results.get("tests/within")
    if table is None or table["effect"].map(tables.is_missing).all():
        return None
    mediation = results.get("tests/mediation")
    return {
        "n": tables.display(pd.to_numeric(table["n"], errors="coerce").max(), "count"),
        "n_trials": tables.display(
            pd.to_numeric(table["n_trials"], errors="coerce").max(), "count"
        ),
        "mediation": mediation is not None
        and not mediation["indirect"].map(tables.is_missing).all(),
    }


def _of_calibration(results: Mapping) -> str:
    if "calibration" not in results:
        return ""
    return _range(results["calibration"]["n_replicates"])


def _not_run(verdicts: Mapping, study: Mapping) -> str:
    """List what was not run, each with its reason."""
    return "; ".join(f"{what} ({reason})" for what, reason in skipped(verdicts, study))


def skipped(verdicts: Mapping, study: Mapping) -> list[tuple[str, str]]:
    """List every analysis that was not run, with the reason."""
    found = [
        (each["question"], each["reason"])
        for each in verdicts["questions"]
        if each["verdict"] == "not run"
    ]
    names = {name for name, _ in found}
    if study["no_trials"] and "Q3" not in names:
        found.append(("trials within people", study["no_trials"]))
    if not study["config"]["nulls"]["n_voxel"]:
        found.append(("correspondence over voxels", "nulls.n_voxel is 0"))
    if not study["config"]["calibrate"]["in_report"]:
        found.append(("calibration", "calibrate.in_report is false"))
    return found


def read_markdown(text: str) -> tuple[list[tuple[int, str]], list[str]]:
    """Take `Paper.markdown` apart: its numbered blocks, and the lines of its references."""
    body, _, listed_works = text.partition("\n# References\n")
    works = re.findall(r"^\d+\. (.+)$", listed_works, re.MULTILINE)
    return _blocks(body), works


# --- Words -----------------------------------------------------------------------------


def _blocks(text: str) -> list[tuple[int, str]]:
    """Split a text into headings and paragraphs, white space joined."""
    blocks = []
    for piece in re.split(r"\n\s*\n|\n(?=#)|(?<=\n)(?=#)", text):
        joined = re.sub(r"\s+", " ", piece).strip()
        heading = re.match(r"(#+) (.+)", piece.strip())
        if heading and "\n" in piece.strip():
            first, rest = piece.strip().split("\n", 1)
            blocks.append((len(heading[1]), first.lstrip("# ").strip()))
            joined, heading = re.sub(r"\s+", " ", rest).strip(), None
        if heading:
            blocks.append((len(heading[1]), heading[2].strip()))
        elif joined:
            blocks.append((0, joined))
    return blocks


def _latex(text: str) -> str:
    pieces = CITATION.split(text)
    return "".join(
        rf"\cite{{{piece.replace('@', '').replace('; ', ',')}}}"
        if i % 2
        else tables.escape_latex(piece)
        for i, piece in enumerate(pieces)
    ).replace(r" \cite", r"~\cite")


def _words(name: object) -> str:
    """Write a name of the configuration as words."""
    return str(name).replace("_", " ")


def _plural(n: int, one: str, many: str = "") -> str:
    stem = one.removesuffix("s")
    return f"{n} {stem if n == 1 else many or f'{stem}s'}"


def _thousands(value: object) -> str:
    return tables.MISSING if tables.is_missing(value) else f"{int(float(value)):,}"


def _if(condition: bool, value: str) -> str:
    return value if condition else ""


def _has(row: Mapping, column: str) -> bool:
    return column in row and not tables.is_missing(row[column])


def _share(value: float) -> str:
    return tables.display(value, "share")


def _count(value: float) -> str:
    return tables.display(value, "count")


def _range(values: Iterable) -> str:
    """Show the least and the largest of some numbers, once where they are one."""
    numbers = pd.to_numeric(pd.Series(list(values)), errors="coerce").dropna()
    if numbers.empty:
        return tables.MISSING
    low, high = _count(numbers.min()), _count(numbers.max())
    return low if low == high else f"{low} to {high}"
