"""From BOLD or images, ratings and a receptor map to tables, verdicts and a report."""

from snakemake.utils import min_version

min_version("9.15.0")


# A study given by --configfile is complete: the default study is no base of it.
if "study" not in config:

    configfile: "config/config.yaml"


# Inert without --software-deployment-method apptainer.
container: "docker://python:3.11-slim"


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/fmriprep.smk"


# Before public files are here, and people preprocessed, nothing can be planned beyond that.
if STUDY:

    include: "workflow/rules/sources.smk"
    include: "workflow/rules/glm.smk"
    include: "workflow/rules/regions.smk"
    include: "workflow/rules/receptors.smk"
    include: "workflow/rules/attenuation.smk"
    include: "workflow/rules/correspondence.smk"
    include: "workflow/rules/tracking.smk"
    include: "workflow/rules/specificity.smk"
    include: "workflow/rules/calibration.smk"
    include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        RESULTS if STUDY else refuse_to_start,


rule calibrate:
    input:
        (
            [*rules.join_calibration.output, *rules.draw_calibration.output]
            if STUDY
            else refuse_to_start
        ),


rule fetch:
    input:
        rules.fetch_files.output,


rule fmriprep:
    input:
        PREPROCESSED if PREPROCESSING else refuse_to_preprocess,
