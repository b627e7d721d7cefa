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


# A study whose public files are not here yet has no rules but those that fetch them.
if STUDY:

    include: "workflow/rules/sources.smk"
    include: "workflow/rules/glm.smk"
    include: "workflow/rules/regions.smk"
    include: "workflow/rules/receptors.smk"
    include: "workflow/rules/attenuation.smk"
    include: "workflow/rules/correspondence.smk"
    include: "workflow/rules/tracking.smk"
    include: "workflow/rules/specificity.smk"
    include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        RESULTS if STUDY else refuse_to_start,
