"""Who is in the study, and (simulated studies) their images."""

if CONFIG["source"] == "simulated":

    rule simulate_study:
        """What would a study look like in which attenuation follows the receptors?"""
        input:
            code=code_of("simulate_study"),
        output:
            images=list(STUDY.manifest.images["image"]),
            maps=list(STUDY.receptors["path"]),
            tables=[CONFIG["maps"]["table"], CONFIG["ratings"]["table"]],
            truth=f"{OUT}/simulated/truth.json",
        log:
            f"{OUT}/logs/simulate_study.txt",
        params:
            cohort={**CONFIG["simulate"], "seed": CONFIG["seed"]},
        script:
            "../scripts/simulate_study.py"


rule write_manifest:
    """Which image belongs to whom, and who was excluded?"""
    input:
        code=code_of("write_manifest"),
    output:
        images=table("manifest"),
        excluded=table("excluded"),
    log:
        f"{OUT}/logs/write_manifest.txt",
    params:
        images=STUDY.manifest.images.to_dict("list"),
        excluded=STUDY.manifest.excluded.to_dict("list"),
    script:
        "../scripts/write_manifest.py"
