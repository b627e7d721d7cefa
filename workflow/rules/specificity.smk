"""Q5: the same test for each receptor map, and what tells the maps apart."""

if CONFIG["receptors"]["panel"]:

    rule read_grey_matter:
        """How much grey matter does each parcel hold?"""
        input:
            parcels=rules.define_regions.output.parcels,
        output:
            table("receptors/grey_matter"),
        log:
            f"{OUT}/logs/read_grey_matter.txt",
        localrule: True
        params:
            code=code_of("read_grey_matter"),
        script:
            "../scripts/read_grey_matter.py"

    rule test_specificity:
        """Q5: is it this receptor rather than others?"""
        input:
            parcels=rules.select_parcels.output,
            receptors=rules.read_receptors.output.parcels,
            distances=STUDY.distances,
        output:
            table("tests/specificity"),
        log:
            f"{OUT}/logs/test_specificity.txt",
        resources:
            mem_mb=memory(1500),
            runtime=minutes(60),
        params:
            maps=STUDY.receptors[["receptor", "label", "unit", "citation"]].to_dict(
                "list"
            ),
            level=CONFIG["tests"]["level"],
            nulls=choose(
                "nulls",
                *("families", "n", "n_beside"),
                *("procedure", "method", "min_parcels"),
            ),
            verdicts=JUDGING,
            null_seed=null_seed(),
            code=code_of("test_specificity"),
        script:
            "../scripts/test_specificity.py"

    rule test_partials:
        """Q5: does attenuation follow what other maps do not have of the target?"""
        input:
            attenuation=rules.attenuate.output.parcels,
            parcels=rules.select_parcels.output,
            receptors=rules.read_receptors.output.parcels,
            grey_matter=rules.read_grey_matter.output,
            distances=STUDY.distances,
        output:
            table("tests/partials"),
        log:
            f"{OUT}/logs/test_partials.txt",
        resources:
            mem_mb=memory(1500),
            runtime=minutes(60),
        params:
            maps=STUDY.receptors[["receptor", "label"]].to_dict("list"),
            tests=choose(
                "tests", "level", "n_permutations", "smallest_r", "bayes_scale"
            ),
            nulls=choose("nulls", "families", "n", "procedure", "min_parcels"),
            seed=CONFIG["seed"],
            null_seed=null_seed(),
            code=code_of("test_partials"),
        script:
            "../scripts/test_partials.py"

    rule test_joint:
        """Q5: what does each receptor map add to the others?"""
        input:
            parcels=rules.select_parcels.output,
            receptors=rules.read_receptors.output.parcels,
            distances=STUDY.distances,
        output:
            table("tests/joint"),
        log:
            f"{OUT}/logs/test_joint.txt",
        resources:
            mem_mb=memory(1500),
            runtime=minutes(60),
        params:
            maps=STUDY.receptors[["receptor", "label"]].to_dict("list"),
            dominance=STUDY.dominance,
            level=CONFIG["tests"]["level"],
            nulls=choose("nulls", "families", "n", "procedure", "min_parcels"),
            null_seed=null_seed(),
            code=code_of("test_joint"),
        script:
            "../scripts/test_joint.py"
