"""Q3 and Q4: attenuation, coupling and relief over people."""


rule couple_subjects:
    """How closely does each person's attenuation follow the receptor map?"""
    input:
        attenuation=rules.attenuate.output.parcels,
        parcels=rules.select_parcels.output,
    output:
        table("coupling"),
    log:
        f"{OUT}/logs/couple_subjects.txt",
    group:
        "tables"
    resources:
        mem_mb=memory(300, 8),
        runtime=minutes(10, 0.02),
    params:
        method=CONFIG["nulls"]["method"],
        code=code_of("couple_subjects"),
    script:
        "../scripts/couple_subjects.py"


if STUDY.rated:
    BASIS = STUDY.basis

    rule assess_reliability:
        """How reliable are attenuation and relief, and how large can their correlation be?"""
        input:
            effects=(
                rules.join_regions.output.rois[:1]
                if BASIS["attenuation"] == "images"
                else many(
                    expand(
                        f"{OUT}/{BASIS['attenuation']}/sub-{{label}}_rois.tsv",
                        label=STUDY.labels,
                    )
                )
            ),
            definitions=rules.define_regions.output.definitions,
            relief=rules.relieve.output.repeats,
        output:
            table("reliability"),
        log:
            f"{OUT}/logs/assess_reliability.txt",
        localrule: True
        params:
            contrasts=(
                CONFIG["contrasts"]
                if BASIS["attenuation"] == "images"
                else [
                    each for each in CONFIG["contrasts"] if each["name"] in STUDY.rated
                ]
            ),
            level=CONFIG["tests"]["level"],
            basis=BASIS,
            min_coverage=CONFIG["regions"]["min_coverage"],
            rated={
                "cue": CONFIG["ratings"].get("events", {}).get("cue", "threat"),
                "higher_is": CONFIG["ratings"]["higher_is"],
            },
            code=code_of("assess_reliability"),
        script:
            "../scripts/assess_reliability.py"

    rule test_tracking:
        """Q3: do people whose response falls more report more relief?"""
        input:
            attenuation=rules.attenuate.output.rois,
            relief=rules.relieve.output.relief,
            reliability=rules.assess_reliability.output,
        output:
            table("tests/tracking"),
        log:
            f"{OUT}/logs/test_tracking.txt",
        resources:
            mem_mb=memory(400 + 0.1 * len(STUDY.labels)),
            runtime=minutes(60),
        params:
            tests=choose(
                "tests",
                "level",
                "n_permutations",
                "n_bootstrap",
                "bayes_kappa",
                "sensitivity_kappas",
            ),
            verdicts=CONFIG["verdicts"],
            seed=CONFIG["seed"],
            code=code_of("test_tracking"),
        script:
            "../scripts/test_tracking.py"

    rule test_coupling:
        """Q4: do people whose attenuation follows the receptor map report more relief?"""
        input:
            coupling=rules.couple_subjects.output,
            relief=rules.relieve.output.relief,
            reliability=rules.assess_reliability.output,
        output:
            table("tests/coupling"),
        log:
            f"{OUT}/logs/test_coupling.txt",
        resources:
            mem_mb=memory(400 + 0.1 * len(STUDY.labels)),
            runtime=minutes(20),
        params:
            tests=choose(
                "tests",
                "level",
                "n_permutations",
                "n_bootstrap",
                "bayes_kappa",
                "sensitivity_kappas",
            ),
            verdicts=CONFIG["verdicts"],
            seed=CONFIG["seed"],
            code=code_of("test_coupling"),
        script:
            "../scripts/test_coupling.py"


if STUDY.rated and not STUDY.no_trials:

    rule test_within:
        """Q3, within people: is a calmer trial rated less unpleasant?"""
        input:
            trials=many(
                expand(f"{OUT}/trials/sub-{{label}}_rois.tsv", label=STUDY.labels)
            ),
            definitions=rules.define_regions.output.definitions,
        output:
            within=table("tests/within"),
            mediation=table("tests/mediation"),
        log:
            f"{OUT}/logs/test_within.txt",
        resources:
            mem_mb=memory(1000),
            runtime=minutes(60),
        params:
            contrasts=[
                contrast
                for contrast in CONFIG["contrasts"]
                if contrast["name"] in STUDY.rated
            ],
            cue=CONFIG["ratings"].get("events", {}).get("cue", "threat"),
            higher_is=CONFIG["ratings"]["higher_is"],
            tests=choose("tests", "level", "n_permutations", "n_bootstrap"),
            verdicts=CONFIG["verdicts"],
            seed=CONFIG["seed"],
            code=code_of("test_within"),
        script:
            "../scripts/test_within.py"


rule test_sensitivity:
    """Q1 and Q3: does a verdict depend on the coverage that a region has to have?"""
    input:
        **(
            {"Q3": rules.test_tracking.output, "relief": rules.relieve.output.relief}
            if STUDY.rated
            else {}
        ),
        rois=rules.join_regions.output.rois,
        Q1=rules.test_attenuation.output,
    output:
        table("tests/sensitivity"),
    log:
        f"{OUT}/logs/test_sensitivity.txt",
    resources:
        mem_mb=memory(400 + 0.1 * len(STUDY.labels)),
        runtime=minutes(60),
    params:
        contrasts=CONFIG["contrasts"],
        min_coverage=CONFIG["regions"]["sensitivity_coverage"],
        tests=CONFIG["tests"],
        verdicts=CONFIG["verdicts"],
        seed=CONFIG["seed"],
        code=code_of("test_sensitivity"),
    script:
        "../scripts/test_sensitivity.py"
