"""Who is in the study, and (simulated studies) their dataset."""

if CONFIG["source"] == "simulated":

    rule simulate_dataset:
        """What do all people share in a study in which attenuation follows the receptors?"""
        output:
            STUDY.simulated.shared,
        log:
            f"{OUT}/logs/simulate_dataset.txt",
        resources:
            mem_mb=memory(1000),
            runtime=minutes(10),
        params:
            cohort=CONFIG["simulate"],
            seed=CONFIG["seed"],
            code=code_of("simulate_dataset"),
        script:
            "../scripts/simulate_dataset.py"

    rule simulate_subject:
        """What would one person's runs look like?"""
        input:
            rules.simulate_dataset.output,
        output:
            STUDY.simulated.of_subject,
        log:
            f"{OUT}/logs/simulate_subject/{{label}}.txt",
        group:
            "simulated"
        resources:
            mem_mb=memory(1500),
            runtime=minutes(10),
            # a profile may put several people into one job, where they then take turns
            in_turn=1,
        params:
            cohort=CONFIG["simulate"],
            seed=CONFIG["seed"],
            index=lambda wildcards: list(STUDY.labels).index(wildcards.label),
            code=code_of("simulate_subject"),
        script:
            "../scripts/simulate_subject.py"


rule write_manifest:
    """Which image belongs to whom, and who was excluded?"""
    output:
        images=table("manifest"),
        runs=table("runs"),
        excluded=table("excluded"),
    log:
        f"{OUT}/logs/write_manifest.txt",
    localrule: True
    params:
        images=STUDY.manifest.images.to_dict("list"),
        runs=STUDY.runs.to_dict("list"),
        excluded=STUDY.manifest.excluded.to_dict("list"),
        code=code_of("write_manifest"),
    script:
        "../scripts/write_manifest.py"
