"""Receptor binding in the same regions."""


rule read_receptors:
    """How much does each region bind?"""
    input:
        rois=rules.define_regions.output.rois,
        parcels=rules.define_regions.output.parcels,
        definitions=rules.define_regions.output.definitions,
        maps=list(STUDY.receptors["path"]),
    output:
        rois=table("receptors/rois"),
        parcels=table("receptors/parcels"),
    log:
        f"{OUT}/logs/read_receptors.txt",
    group:
        "regions"
    resources:
        mem_mb=memory(600),
        runtime=minutes(20),
    params:
        maps=STUDY.receptors[
            ["receptor", "path", "background", "negative", "checksum"]
        ].to_dict("list"),
        min_coverage=CONFIG["regions"]["min_coverage"],
        low_coverage=CONFIG["receptors"]["low_coverage"],
        code=code_of("read_receptors"),
    script:
        "../scripts/read_receptors.py"
