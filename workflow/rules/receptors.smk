"""Receptor binding in the same regions."""


rule read_receptors:
    """How much does each region bind?"""
    input:
        rois=rules.define_regions.output.rois,
        parcels=rules.define_regions.output.parcels,
        definitions=rules.define_regions.output.definitions,
        maps=list(STUDY.receptors["path"]),
        code=modules("receptor", "regions", "images", "io"),
    output:
        rois=table("receptors/rois"),
        parcels=table("receptors/parcels"),
    log:
        f"{OUT}/logs/read_receptors.txt",
    params:
        maps=STUDY.receptors.to_dict("list"),
        min_coverage=CONFIG["regions"]["min_coverage"],
    script:
        "../scripts/read_receptors.py"
