"""Who is in the study, and (simulated studies) their dataset."""

if CONFIG["source"] == "simulated":

    rule simulate_dataset:
        """What do all people of a study share in which attenuation follows the receptors?"""
        input:
            code=code_of("simulate_dataset"),
        output:
            shared=[f"{SIMULATED}/{name}" for name in simulate_bids.shared_files(COHORT)],
        log:
            f"{OUT}/logs/simulate_dataset.txt",
        params:
            cohort=COHORT,
            folder=SIMULATED,
        script:
            "../scripts/simulate_dataset.py"

    rule simulate_subject:
        """What would one person's scans look like?"""
        input:
            shared=rules.simulate_dataset.output,
            code=code_of("simulate_subject"),
        output:
            [f"{SIMULATED}/{name}" for name in simulate_bids.subject_files(COHORT, "{label}")],
        log:
            f"{OUT}/logs/simulate_subject/{{label}}.txt",
        params:
            cohort=COHORT,
            folder=SIMULATED,
        script:
            "../scripts/simulate_subject.py"


rule write_manifest:
    """Which image belongs to whom, and who was excluded?"""
    input:
        code=code_of("write_manifest"),
    output:
        images=table("manifest"),
        runs=table("runs"),
        excluded=table("excluded"),
    log:
        f"{OUT}/logs/write_manifest.txt",
    params:
        images=STUDY.manifest.images.to_dict("list"),
        runs=STUDY.runs.to_dict("list"),
        excluded=STUDY.manifest.excluded.to_dict("list"),
    script:
        "../scripts/write_manifest.py"
