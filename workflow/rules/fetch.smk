"""Public files, before the study: the only rule that uses the network, and only when asked."""


# Without output: it looks whenever it is asked for.
rule fetch:
    """What does the study take from public sources that is not here yet?"""
    input:
        code=code_of("fetch"),
    log:
        f"results/{config['study']}/logs/fetch.txt",
    localrule: True
    params:
        config=config,
        command=FETCH,
    script:
        "../scripts/fetch.py"
