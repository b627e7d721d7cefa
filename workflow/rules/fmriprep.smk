"""Raw data become derivatives (`snakemake fmriprep`), for those who wait for it."""

from snakemake.exceptions import WorkflowError

from handhold.errors import StudyError
from handhold.fmriprep import plan
from handhold.study import code_of

try:
    PLAN = plan(config)
except StudyError as error:
    raise WorkflowError(str(error)) from None

WAITING = PLAN.waiting if PLAN else ()
PREPROCESSED = [PLAN.receipt(label) for label in WAITING]


if WAITING:

    if "image" not in PLAN.chosen or PLAN.chosen["engine"] == "docker":

        rule fetch_fmriprep:
            """Which container preprocesses everyone?"""
            input:
                code=code_of("fetch_fmriprep"),
            output:
                PLAN.image,
            log:
                f"results/{PLAN.study}/logs/fetch_fmriprep.txt",
                f"results/{PLAN.study}/logs/fetch_fmriprep.out.txt",
            params:
                chosen={
                    key: PLAN.chosen[key]
                    for key in ("engine", "version", "image")
                    if key in PLAN.chosen
                },
            script:
                "../scripts/fetch_fmriprep.py"

    # Nobody who is done is asked for again, so that no edit of handhold costs hours.
    rule preprocess_subject:
        """What is a person's BOLD in standard space, and how did they move?"""
        input:
            image=ancient(PLAN.image),
            code=code_of("preprocess_subject"),
        output:
            PLAN.receipt("{label}"),
        log:
            f"results/{PLAN.study}/logs/preprocess_subject/{{label}}.txt",
            f"results/{PLAN.study}/logs/preprocess_subject/{{label}}.out.txt",
        wildcard_constraints:
            label="[^/._]+",
        threads: PLAN.chosen["n_cpus"]
        resources:
            mem_mb=PLAN.chosen["mem_mb"],
        params:
            command=lambda wildcards: PLAN.command(wildcards.label),
            folders=(PLAN.bids["derivatives"], PLAN.chosen["work"]),
        script:
            "../scripts/preprocess_subject.py"
