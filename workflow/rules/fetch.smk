"""Public files, before the study: `snakemake fetch`, where there is a network."""


rule fetch_files:
    """What does the study take from public sources that is not here yet?"""

    # Gone at once, so that it looks whenever it is asked for.
    output:
        temp(f"{OUT}/fetched.txt"),
    log:
        f"{OUT}/logs/fetch.txt",
    localrule: True
    params:
        config=config,
        command=FETCH,
        code=code_of("fetch_files"),
    script:
        "../scripts/fetch_files.py"
