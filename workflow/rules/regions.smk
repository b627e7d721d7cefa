"""Region means through each subject's own coverage; ROIs and parcels by the same code."""


rule define_regions:
    """Where do the ROIs and parcels lie?"""
    input:
        rois=CONFIG["regions"]["rois"],
        atlases=CONFIG["regions"]["atlases"],
        files=STUDY.atlas_files,
        grid=STUDY.grid,
    output:
        rois=f"{OUT}/regions/rois.npz",
        parcels=f"{OUT}/regions/parcels.npz",
        definitions=table("regions/definitions"),
        overlap=table("regions/overlap"),
    log:
        f"{OUT}/logs/define_regions.txt",
    group:
        "regions"
    resources:
        mem_mb=memory(500),
        runtime=minutes(10),
    params:
        **choose(
            "regions", "definitions", "parcels", "min_parcel_voxels", "tiny_parcels"
        ),
        data_root=CONFIG["data_root"],
        orientation=CONFIG["maps"].get("analyze_orientation"),
        code=code_of("define_regions"),
    script:
        "../scripts/define_regions.py"


rule read_subject:
    """What is the effect in each region of one subject?"""
    input:
        rois=rules.define_regions.output.rois,
        parcels=rules.define_regions.output.parcels,
        images=lambda wildcards: STUDY.awaited(STUDY.labels[wildcards.label]),
    output:
        rois=table("regions/subjects/{label}_rois"),
        parcels=table("regions/subjects/{label}_parcels"),
    log:
        f"{OUT}/logs/read_subject/{{label}}.txt",
    group:
        "sub-{label}"
    resources:
        mem_mb=memory(500),
        runtime=minutes(10),
    params:
        rows=lambda wildcards: STUDY.manifest.of(
            STUDY.labels[wildcards.label]
        ).to_dict("list"),
        orientation=CONFIG["maps"].get("analyze_orientation"),
        zero_is_missing=CONFIG["maps"]["zero_is_missing"],
        code=code_of("read_subject"),
    script:
        "../scripts/read_subject.py"


rule join_regions:
    """Which regions does each subject's image cover?"""
    input:
        rois=many(
            expand(f"{OUT}/regions/subjects/{{label}}_rois.tsv", label=STUDY.labels)
        ),
        parcels=many(
            expand(f"{OUT}/regions/subjects/{{label}}_parcels.tsv", label=STUDY.labels)
        ),
        definitions=rules.define_regions.output.definitions,
    output:
        rois=table("regions/rois"),
        parcels=table("regions/parcels"),
    log:
        f"{OUT}/logs/join_regions.txt",
    group:
        "tables"
    resources:
        mem_mb=memory(300, 3),
        runtime=minutes(10, 0.02),
    params:
        min_coverage=CONFIG["regions"]["min_coverage"],
        code=code_of("join_regions"),
    script:
        "../scripts/join_regions.py"
