"""Raw data become derivatives (`snakemake fmriprep`), for those who wait for it."""

WAITING = PREPROCESSING.waiting if PREPROCESSING else ()
PREPROCESSED = [PREPROCESSING.receipt(label) for label in WAITING]


if WAITING:

    if (
        "image" not in PREPROCESSING.chosen
        or PREPROCESSING.chosen["engine"] == "docker"
    ):

        rule fetch_fmriprep:
            """Which container preprocesses everyone?"""
            output:
                PREPROCESSING.image,
            log:
                f"results/{PREPROCESSING.study}/logs/fetch_fmriprep.txt",
                f"results/{PREPROCESSING.study}/logs/fetch_fmriprep.out.txt",
            localrule: True
            params:
                chosen={
                    key: PREPROCESSING.chosen[key]
                    for key in ("engine", "version", "image")
                    if key in PREPROCESSING.chosen
                },
                code=code_of("fetch_fmriprep"),
            script:
                "../scripts/fetch_fmriprep.py"

    # Nobody who is done is asked for again, so that no edit of handhold costs hours.
    rule preprocess_subject:
        """What is a person's BOLD in standard space, and how did they move?"""
        input:
            image=ancient(PREPROCESSING.image),
        output:
            PREPROCESSING.receipt("{label}"),
        log:
            f"results/{PREPROCESSING.study}/logs/preprocess_subject/{{label}}.txt",
            f"results/{PREPROCESSING.study}/logs/preprocess_subject/{{label}}.out.txt",
        wildcard_constraints:
            label="[^/._]+",
        threads: PREPROCESSING.chosen["n_cpus"]
        resources:
            mem_mb=PREPROCESSING.chosen["mem_mb"],
            # a day serves a person of a few sessions
            runtime=minutes(24 * 60),
        params:
            command=lambda wildcards: PREPROCESSING.command(wildcards.label),
            folders=(PREPROCESSING.bids["derivatives"], PREPROCESSING.chosen["work"]),
            code=code_of("preprocess_subject"),
        script:
            "../scripts/preprocess_subject.py"
