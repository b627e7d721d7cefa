"""Verdicts, exclusions, figures, provenance and the page. Nothing here computes a statistic."""

import re

from handhold.captions import SHEETS_SHOWN, name_sheets
from handhold.design import HIGH_PASS_LOSS, TASK_MOTION
from handhold.verdicts import TESTS

PRIMARY = CONFIG["contrasts"][0]["name"]
DEFINITION = CONFIG["regions"]["definitions"][0]
FIGURES = {
    "glass": "Q1",
    "rois": "Q1",
    "cells": "Q1",
    "coverage": "Q1",
    "attenuation": "Q1",
    "correspondence": "Q2",
    "tracking": "Q3",
    "coupling": "Q4",
    "specificity": "Q5",
}
SHEETS = name_sheets(len(STUDY.labels))
DRAWN = [name for name, question in FIGURES.items() if question in QUESTIONS]
if PRIMARY not in STUDY.rated:
    # Q3 and Q4 are tested in other contrasts at most; the figures are of the primary one.
    DRAWN = [name for name in DRAWN if FIGURES[name] not in {"Q3", "Q4"}]
DRAWN += SHEETS[:SHEETS_SHOWN]
ASKED = [question for question in TESTS if question in QUESTIONS]
TABLES = [
    *("regions/definitions", "regions/overlap", "receptors/rois"),
    *("exclusions_by_stage", "exclusions", "qc/registration"),
]
# Beside the tests of a question; the page shows them, no verdict reads them.
TABLES += ["tests/interaction", "tests/sensitivity"]
if STUDY.rated:
    TABLES += ["reliability"]
if STUDY.rated and not STUDY.no_trials:
    TABLES += ["tests/within", "tests/mediation"]
QUALITY = {}
if len(STUDY.runs):
    DRAWN += ["runs", "tsnr"]
    TABLES += ["qc/summary", "qc/review", "qc/regressors"]
    # What the figure of the runs, and its caption, call too much.
    QUALITY = {
        "warn_vif": CONFIG["glm"]["warn_vif"],
        "max_vif": CONFIG["glm"]["max_vif"],
        "max_censored": CONFIG["confounds"]["max_censored"],
        "warn_motion": TASK_MOTION,
        "warn_high_pass": HIGH_PASS_LOSS,
    }
    if "scrub" in CONFIG["confounds"]["strategy"]:
        for name in ("fd_threshold_mm", "std_dvars_threshold"):
            QUALITY[name] = CONFIG["confounds"][name]
if "Q5" in QUESTIONS:
    TABLES += ["tests/partials", "tests/joint"]
if CONFIG["calibrate"]["in_report"]:
    DRAWN += ["calibration", "power"]
    TABLES += ["calibration", "sample_size"]
# What the text for the paper is told from.
PAPER_SOURCES = [
    f"{OUT}/{name}.tsv"
    for name in (
        *("manifest", "exclusions", "regions/definitions", "regions/rois"),
        *("correspondence/parcels", *(TESTS[question] for question in ASKED)),
        *(name for name in TABLES if name.startswith("tests/")),
        *(("relief", "reliability") if STUDY.rated else ()),
        *(("qc/summary", "qc/runs", "qc/regressors") if len(STUDY.runs) else ()),
        *(("calibration",) if CONFIG["calibrate"]["in_report"] else ()),
    )
]
PAPER_EFFECT = []
if len(STUDY.runs):
    PAPER_EFFECT = [
        f"{path.removesuffix('.nii.gz')}.json"
        for path in STUDY.manifest.images["image"].iloc[:1]
    ]
# What a dataset says of itself and its people, where it does; a simulated one is not there yet.
DATASET_FACTS = []
if CONFIG["source"] == "bids":
    DATASET_FACTS = [
        str(path)
        for name in ("dataset_description.json", "participants.tsv")
        if (path := Path(CONFIG["bids"]["dataset"], name)).is_file()
    ]
PAPER_TABLES = [TESTS[question].removeprefix("tests/") for question in ASKED]
PAPER_TABLES += ["regions", "maps"]
PAGE_PARTS = [
    str(path)
    for path in sorted(Path("workflow/report").iterdir())
    if path.suffix in {".j2", ".css", ".js"}
]
RESULTS = [f"{OUT}/report.html", f"{OUT}/dataset_description.json", f"{OUT}/group"]
RESULTS += [f"{OUT}/figures/{name}.svg" for name in SHEETS[SHEETS_SHOWN:]]
if len(STUDY.runs):
    RESULTS += table("qc/runs") + table("qc/regressors")
    if CONFIG["glm"]["single_trials"]:
        RESULTS += expand(
            f"{OUT}/trials/sub-{{label}}_{{kind}}.tsv",
            label=STUDY.labels,
            kind=("rois", "parcels"),
        )


rule judge:
    """What do the numbers say, by the rule fixed before?"""
    input:
        **{question: f"{OUT}/{TESTS[question]}.tsv" for question in ASKED},
        sensitivity=rules.test_sensitivity.output,
        interaction=rules.test_interaction.output,
    output:
        f"{OUT}/verdicts.json",
    log:
        f"{OUT}/logs/judge.txt",
    localrule: True
    params:
        study=dict(
            study=CONFIG["study"],
            contrast=PRIMARY,
            definition=DEFINITION,
            method=CONFIG["nulls"]["method"],
            label=STUDY.receptors["label"].iloc[0],
            act=CONFIG["act"],
            verdicts=CONFIG["verdicts"],
        ),
        code=code_of("judge"),
    script:
        "../scripts/judge.py"


rule list_exclusions:
    """What was left out, and why?"""
    input:
        excluded=rules.write_manifest.output.excluded,
        rois=rules.join_regions.output.rois,
        parcel_cells=rules.join_regions.output.parcels,
        definitions=rules.define_regions.output.definitions,
        parcels=rules.select_parcels.output,
        receptors=rules.read_receptors.output.parcels,
    output:
        exclusions=table("exclusions"),
        stages=table("exclusions_by_stage"),
    log:
        f"{OUT}/logs/list_exclusions.txt",
    resources:
        mem_mb=memory(300, 3),
        runtime=minutes(10, 0.02),
    params:
        unrated=[
            contrast["name"]
            for contrast in CONFIG["contrasts"]
            if STUDY.rated and contrast["name"] not in STUDY.rated
        ],
        code=code_of("list_exclusions"),
    script:
        "../scripts/list_exclusions.py"


rule draw_rois:
    """Where are the ROIs?"""
    input:
        rois=rules.define_regions.output.rois,
        definitions=rules.define_regions.output.definitions,
    output:
        figure("rois", "Q1"),
    log:
        f"{OUT}/logs/draw_rois.txt",
    localrule: True
    params:
        definition=DEFINITION,
        code=code_of("draw_rois"),
    script:
        "../scripts/draw_rois.py"


rule gather_viewer:
    """What does the interactive brain show?"""
    input:
        images=rules.average_images.output.images,
        rois=rules.define_regions.output.rois,
        definitions=rules.define_regions.output.definitions,
        receptor=STUDY.receptors["path"].iloc[0],
    output:
        view=directory(f"{OUT}/viewer"),
    log:
        f"{OUT}/logs/gather_viewer.txt",
    resources:
        mem_mb=memory(1000),
        runtime=minutes(10),
    params:
        images=group_names(OUT, CONFIG["contrasts"]),
        receptor=STUDY.receptors[
            [
                *("receptor", "label", "unit"),
                *("path", "background", "negative", "checksum"),
            ]
        ]
        .iloc[0]
        .to_dict(),
        words={
            "unit": CONFIG["unit"],
            "act": CONFIG["act"],
            "definition": DEFINITION,
        },
        reading=dict(
            min_coverage=CONFIG["regions"]["min_coverage"],
            low_coverage=CONFIG["receptors"]["low_coverage"],
        ),
        code=code_of("gather_viewer"),
    script:
        "../scripts/gather_viewer.py"


rule draw_glass:
    """What do the maps look like on paper?"""
    input:
        view=rules.gather_viewer.output.view,
    output:
        figure("glass", "Q1"),
    log:
        f"{OUT}/logs/draw_glass.txt",
    localrule: True
    params:
        code=code_of("draw_glass"),
    script:
        "../scripts/draw_glass.py"


rule draw_coverage:
    """How much of each ROI does each image cover?"""
    input:
        rois=rules.join_regions.output.rois,
    output:
        figure("coverage"),
    log:
        f"{OUT}/logs/draw_coverage.txt",
    localrule: True
    params:
        definition=DEFINITION,
        min_coverage=CONFIG["regions"]["min_coverage"],
        code=code_of("draw_coverage"),
    script:
        "../scripts/draw_coverage.py"


rule draw_cells:
    """What does each person have, and what is missing?"""
    input:
        **({"relief": rules.relieve.output.relief} if "Q3" in QUESTIONS else {}),
        images=(
            table("qc/regressors")
            if len(STUDY.runs)
            else rules.write_manifest.output.images
        ),
        excluded=rules.write_manifest.output.excluded,
    output:
        figure("cells"),
    log:
        f"{OUT}/logs/draw_cells.txt",
    localrule: True
    params:
        code=code_of("draw_cells"),
    script:
        "../scripts/draw_cells.py"


rule check_registration:
    """Does each person's brain lie where the template's does?"""
    input:
        images=many(STUDY.images),
        manifest=rules.write_manifest.output.images,
    output:
        table=table("qc/registration"),
        planes=f"{OUT}/qc/registration.npz",
    log:
        f"{OUT}/logs/check_registration.txt",
    resources:
        mem_mb=memory(1000),
        runtime=minutes(10, 0.1, of="images"),
    params:
        orientation=CONFIG["maps"].get("analyze_orientation"),
        zero_is_missing=CONFIG["maps"]["zero_is_missing"],
        code=code_of("check_registration"),
    script:
        "../scripts/check_registration.py"


rule draw_registration:
    """What does each person's outline on the template look like?"""
    input:
        table=rules.check_registration.output.table,
        planes=rules.check_registration.output.planes,
    output:
        figure("{sheet}", caption="registration"),
    log:
        f"{OUT}/logs/draw_{{sheet}}.txt",
    wildcard_constraints:
        sheet="|".join(SHEETS),
    localrule: True
    params:
        sheet=lambda wildcards: wildcards.sheet,
        code=code_of("draw_registration"),
    script:
        "../scripts/draw_registration.py"


if len(STUDY.runs):

    rule review_runs:
        """How good is each run, and which ones call for a look?"""
        input:
            runs=f"{OUT}/qc/runs.tsv",
            regressors=f"{OUT}/qc/regressors.tsv",
        output:
            review=table("qc/review"),
            summary=table("qc/summary"),
        log:
            f"{OUT}/logs/review_runs.txt",
        localrule: True
        params:
            code=code_of("review_runs"),
        script:
            "../scripts/review_runs.py"

    rule draw_runs:
        """Which runs stand out?"""
        input:
            review=rules.review_runs.output.review,
        output:
            figure("runs"),
        log:
            f"{OUT}/logs/draw_runs.txt",
        localrule: True
        params:
            limits=QUALITY,
            code=code_of("draw_runs"),
        script:
            "../scripts/draw_runs.py"

    rule draw_tsnr:
        """Where is the signal too weak to tell anything?"""
        input:
            rois=f"{OUT}/regions/rois.tsv",
        output:
            figure("tsnr"),
        log:
            f"{OUT}/logs/draw_tsnr.txt",
        localrule: True
        params:
            definition=DEFINITION,
            code=code_of("draw_tsnr"),
        script:
            "../scripts/draw_tsnr.py"


rule draw_attenuation:
    """What does every subject's attenuation look like?"""
    input:
        attenuation=rules.attenuate.output.rois,
        tests=rules.test_attenuation.output,
    output:
        figure("attenuation", "Q1"),
    log:
        f"{OUT}/logs/draw_attenuation.txt",
    localrule: True
    params:
        definition=DEFINITION,
        unit=CONFIG["unit"],
        act=CONFIG["act"],
        code=code_of("draw_attenuation"),
    script:
        "../scripts/draw_attenuation.py"


rule draw_correspondence:
    """What does the correspondence of attenuation and binding look like?"""
    input:
        parcels=rules.select_parcels.output,
        tests=rules.test_correspondence.output.tests,
        nulls=rules.test_correspondence.output.nulls,
    output:
        figure("correspondence", "Q2"),
    log:
        f"{OUT}/logs/draw_correspondence.txt",
    localrule: True
    params:
        contrast=PRIMARY,
        method=CONFIG["nulls"]["method"],
        families=CONFIG["nulls"]["families"],
        unit=CONFIG["unit"],
        act=CONFIG["act"],
        receptor="{label} ({unit})".format(**STUDY.receptors.iloc[0]),
        code=code_of("draw_correspondence"),
    script:
        "../scripts/draw_correspondence.py"


if "Q3" in QUESTIONS:

    rule draw_tracking:
        """What does relief look like beside attenuation?"""
        input:
            attenuation=rules.attenuate.output.rois,
            relief=rules.relieve.output.relief,
            tests=rules.test_tracking.output,
        output:
            figure("tracking", "Q3"),
        log:
            f"{OUT}/logs/draw_tracking.txt",
        localrule: True
        params:
            contrast=PRIMARY,
            definition=DEFINITION,
            unit=CONFIG["unit"],
            relief=CONFIG["ratings"]["label"],
            act=CONFIG["act"],
            code=code_of("draw_tracking"),
        script:
            "../scripts/draw_tracking.py"

    rule draw_coupling:
        """What does relief look like beside coupling?"""
        input:
            coupling=rules.couple_subjects.output,
            relief=rules.relieve.output.relief,
            tests=rules.test_coupling.output,
        output:
            figure("coupling", "Q4"),
        log:
            f"{OUT}/logs/draw_coupling.txt",
        localrule: True
        params:
            contrast=PRIMARY,
            relief=CONFIG["ratings"]["label"],
            act=CONFIG["act"],
            code=code_of("draw_coupling"),
        script:
            "../scripts/draw_coupling.py"


if "Q5" in QUESTIONS:

    rule draw_specificity:
        """How do the receptor maps compare?"""
        input:
            tests=rules.test_specificity.output,
        output:
            figure("specificity", "Q5"),
        log:
            f"{OUT}/logs/draw_specificity.txt",
        localrule: True
        params:
            contrast=PRIMARY,
            code=code_of("draw_specificity"),
        script:
            "../scripts/draw_specificity.py"


rule record_provenance:
    """From which files, choices and versions do the numbers come?"""
    input:
        # everyone's files have been read by then, each a reason to read them anew
        read=rules.join_regions.output.rois,
        maps=list(STUDY.receptors["path"]),
        tables=STUDY.tables,
        atlases=STUDY.atlas_files,
    output:
        inputs=table("provenance/inputs"),
        sources=table("provenance/sources"),
        config=f"{OUT}/provenance/config.yaml",
        versions=f"{OUT}/provenance/versions.json",
        description=f"{OUT}/dataset_description.json",
        ignored=f"{OUT}/.bidsignore",
        readme=f"{OUT}/README.md",
    log:
        f"{OUT}/logs/record_provenance.txt",
    resources:
        mem_mb=memory(500),
        runtime=minutes(20 + 0.2 * len(STUDY.labels)),
    params:
        images=STUDY.given,
        # how files came here changes no result
        config={key: STUDY.resolved[key] for key in STUDY.resolved if key != "fetch"},
        sources=STUDY.public.sources().to_dict("list"),
        source=lambda wildcards: STUDY.source,
        versions=software_versions(),
        code=code_of("record_provenance"),
    script:
        "../scripts/record_provenance.py"


rule write_paper:
    """What would a paper say of how it was done, and of what came out?"""
    input:
        verdicts=rules.judge.output,
        tables=PAPER_SOURCES,
        versions=rules.record_provenance.output.versions,
        config=rules.record_provenance.output.config,
        # what the first level did is read from where it was done
        effect=PAPER_EFFECT,
        dataset=DATASET_FACTS,
        template="workflow/report/text.md.jinja",
        library="workflow/report/references.bib",
    output:
        markdown=f"{OUT}/paper/text.md",
        latex=f"{OUT}/paper/text.tex",
        bibtex=f"{OUT}/paper/references.bib",
        checklist=table("paper/cobidas"),
        tables=[
            f"{OUT}/tables/{name}.{kind}"
            for name in PAPER_TABLES
            for kind in ("tsv", "json", "html", "tex")
        ],
    log:
        f"{OUT}/logs/write_paper.txt",
    localrule: True
    params:
        study={
            **{name: CONFIG[name] for name in ("source", "unit", "act")},
            "rating": CONFIG.get("ratings", {}).get("label", "relief"),
            "others": CONFIG.get("events", {}).get("others", []),
            "no_trials": STUDY.no_trials,
        },
        bids=CONFIG.get("bids", {}),
        runs=STUDY.runs.reindex(columns=["subject", "bold", "sidecar"]).to_dict("list"),
        maps=STUDY.receptors.to_dict("records"),
        atlases=STUDY.atlas_citations,
        code=code_of("write_paper"),
    script:
        "../scripts/write_paper.py"


# Every results table that a rule writes: not the simulated dataset, whose files are inputs, and
# those of the calibration only where the page has it.
APART = (f"{OUT}/simulated/",)
if not CONFIG["calibrate"]["in_report"]:
    APART += (f"{OUT}/calibration", f"{OUT}/sample_size")
RESULT_TABLES = {
    path
    for rule in workflow.rules
    for path in expand(
        # without the constraints that Snakemake writes into wildcards
        [re.sub(r"(\{\w+),.*?\}", r"\1}", str(file)) for file in rule.output],
        label=list(STUDY.labels),
        batch=list(STUDY.batches),
        allow_missing=True,
    )
    if path.endswith(".tsv") and "{" not in path and not path.startswith(APART)
}


rule record_results:
    """With which checksums can a reader tell that the tables are these?"""
    input:
        tables=many(sorted(RESULT_TABLES)),
    output:
        table("provenance/results"),
    log:
        f"{OUT}/logs/record_results.txt",
    localrule: True
    params:
        code=code_of("record_results"),
    script:
        "../scripts/record_results.py"


rule write_report:
    """What is the answer, and can a reader check it?"""
    input:
        verdicts=rules.judge.output,
        tests=[f"{OUT}/{TESTS[question]}.tsv" for question in ASKED],
        tables=[f"{OUT}/{name}.tsv" for name in TABLES],
        figures=[f"{OUT}/figures/{name}.svg" for name in DRAWN],
        provenance=rules.record_provenance.output,
        view=rules.gather_viewer.output.view,
        paper=rules.write_paper.output,
        results=rules.record_results.output,
        parts=PAGE_PARTS,
    output:
        page=f"{OUT}/report.html",
    log:
        f"{OUT}/logs/write_report.txt",
    localrule: True
    params:
        study={
            **{
                name: CONFIG[name]
                for name in ("study", "title", "source", "unit", "act")
            },
            "level": CONFIG["tests"]["level"],
            "no_trials": STUDY.no_trials,
            "contrast_only": all(
                "image" in contrast for contrast in CONFIG["contrasts"]
            ),
        },
        figures={
            "contrast": PRIMARY,
            "definition": DEFINITION,
            "method": CONFIG["nulls"]["method"],
            "unit": CONFIG["unit"],
            "act": CONFIG["act"],
            "min_coverage": CONFIG["regions"]["min_coverage"],
            "limits": QUALITY,
            "level": CONFIG["tests"]["level"],
            "receptor": STUDY.receptors["label"].iloc[0],
        },
        maps=STUDY.receptors.to_dict("records"),
        atlases=STUDY.atlas_citations + STUDY.public.dataset_citations(),
        code=code_of("write_report"),
    script:
        "../scripts/write_report.py"
