"""Attenuation, relief, and Q1."""


rule attenuate:
    """How much less does each region respond when a hand is held?"""
    input:
        rois=rules.join_regions.output.rois,
        parcels=rules.join_regions.output.parcels,
        definitions=rules.define_regions.output.definitions,
    output:
        rois=table("attenuation/rois"),
        parcels=table("attenuation/parcels"),
    log:
        f"{OUT}/logs/attenuate.txt",
    group:
        "tables"
    resources:
        mem_mb=memory(300, 3),
        runtime=minutes(10, 0.02),
    params:
        contrasts=CONFIG["contrasts"],
        code=code_of("attenuate"),
    script:
        "../scripts/attenuate.py"


rule test_attenuation:
    """Q1: does holding lower the response, ROI by ROI?"""
    input:
        attenuation=rules.attenuate.output.rois,
    output:
        table("tests/attenuation"),
    log:
        f"{OUT}/logs/test_attenuation.txt",
    resources:
        mem_mb=memory(500),
        runtime=minutes(20),
    params:
        tests=choose(
            "tests",
            "level",
            "n_permutations",
            "smallest_dz",
            "bayes_scale",
            "sensitivity_scales",
        ),
        verdicts=CONFIG["verdicts"],
        seed=CONFIG["seed"],
        code=code_of("test_attenuation"),
    script:
        "../scripts/test_attenuation.py"


rule test_interaction:
    """Q1: is one ROI attenuated more than another?"""
    input:
        attenuation=rules.attenuate.output.rois,
    output:
        table("tests/interaction"),
    log:
        f"{OUT}/logs/test_interaction.txt",
    localrule: True
    params:
        tests=choose("tests", "level", "n_permutations", "smallest_dz", "bayes_scale"),
        seed=CONFIG["seed"],
        code=code_of("test_interaction"),
    script:
        "../scripts/test_interaction.py"


if STUDY.rated:

    rule relieve:
        """How much better does each person feel held?"""
        input:
            ratings=CONFIG["ratings"]["table"],
        output:
            relief=table("relief"),
            repeats=table("relief_repeats"),
        log:
            f"{OUT}/logs/relieve.txt",
        localrule: True
        params:
            config={name: CONFIG[name] for name in ("ratings", "contrasts")},
            rename=CONFIG["maps"]["rename"]["condition"],
            source="bids" if "bids" in CONFIG else "maps",
            subjects=STUDY.manifest.subjects,
            excluded=STUDY.manifest.excluded_subjects,
            code=code_of("relieve"),
        script:
            "../scripts/relieve.py"
