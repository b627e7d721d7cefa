"""Q5: the same test for each receptor map, and what tells the maps apart."""

if CONFIG["receptors"]["panel"]:

    rule test_specificity:
        """Q5: is it this receptor rather than others?"""
        input:
            parcels=rules.select_parcels.output,
            receptors=rules.read_receptors.output.parcels,
            distances=STUDY.distances,
            code=code_of("test_specificity"),
        output:
            table("tests/specificity"),
        log:
            f"{OUT}/logs/test_specificity.txt",
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
            verdicts=CONFIG["verdicts"],
            null_seed=null_seed(),
        script:
            "../scripts/test_specificity.py"
