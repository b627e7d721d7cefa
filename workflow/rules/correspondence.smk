"""Q2: group and subject maps against the receptor map, with two nulls."""


rule select_parcels:
    """Which parcels have both attenuation and binding?"""
    input:
        attenuation=rules.attenuate.output.parcels,
        receptors=rules.read_receptors.output.parcels,
        definitions=rules.define_regions.output.definitions,
    output:
        table("correspondence/parcels"),
    log:
        f"{OUT}/logs/select_parcels.txt",
    group:
        "tables"
    resources:
        mem_mb=memory(300, 8),
        runtime=minutes(10, 0.02),
    params:
        target=CONFIG["receptors"]["target"],
        min_subjects=CONFIG["regions"]["min_subjects"],
        min_parcels=CONFIG["nulls"]["min_parcels"],
        code=code_of("select_parcels"),
    script:
        "../scripts/select_parcels.py"


rule average_images:
    """What is the group's attenuation, voxel by voxel?"""
    input:
        images=many(STUDY.images),
        parcels=rules.define_regions.output.parcels,
        definitions=rules.define_regions.output.definitions,
        receptor=STUDY.receptors["path"].iloc[0],
    output:
        images=directory(f"{OUT}/group"),
        voxels=f"{OUT}/correspondence/voxels.npz",
        subjects=table("correspondence/voxels_of_subjects"),
    log:
        f"{OUT}/logs/average_images.txt",
    resources:
        mem_mb=memory(1000),
        runtime=minutes(10, 0.1, of="images"),
    params:
        manifest=STUDY.manifest.images.to_dict("list"),
        contrasts=CONFIG["contrasts"],
        names=group_names(OUT, CONFIG["contrasts"]),
        facts={"Units": CONFIG["unit"], "Study": CONFIG["study"]},
        receptor=STUDY.receptors[
            ["receptor", "path", "background", "negative", "checksum"]
        ]
        .iloc[0]
        .to_dict(),
        reading=dict(
            analyze_orientation=CONFIG["maps"].get("analyze_orientation"),
            zero_is_missing=CONFIG["maps"]["zero_is_missing"],
            low_coverage=CONFIG["receptors"]["low_coverage"],
            **choose("regions", "min_subjects", "min_coverage"),
        ),
        code=code_of("average_images"),
    script:
        "../scripts/average_images.py"


if CONFIG["nulls"]["n_voxel"]:

    rule test_voxels:
        """Does the attenuation image follow the receptor map, voxel by voxel?"""
        input:
            voxels=rules.average_images.output.voxels,
            subjects=rules.average_images.output.subjects,
        output:
            table("correspondence/voxels"),
        log:
            f"{OUT}/logs/test_voxels.txt",
        resources:
            mem_mb=memory(1500),
            runtime=minutes(60),
        params:
            tests=choose("tests", "level", "n_permutations", "bayes_scale"),
            n_nulls=CONFIG["nulls"]["n_voxel"],
            method=CONFIG["nulls"]["method"],
            contrasts=[contrast["name"] for contrast in CONFIG["contrasts"]],
            seed=CONFIG["seed"],
            null_seed=null_seed(),
            code=code_of("test_voxels"),
        script:
            "../scripts/test_voxels.py"


rule test_rois:
    """Does the order of the hypothesised ROIs follow the receptor map?"""
    input:
        attenuation=rules.attenuate.output.rois,
        receptors=rules.read_receptors.output.rois,
    output:
        table("correspondence/rois"),
    log:
        f"{OUT}/logs/test_rois.txt",
    localrule: True
    params:
        target=CONFIG["receptors"]["target"],
        n_permutations=CONFIG["tests"]["n_permutations"],
        seed=CONFIG["seed"],
        code=code_of("test_rois"),
    script:
        "../scripts/test_rois.py"


rule test_correspondence:
    """Q2: does the attenuation map follow the receptor map, beyond what smooth maps share?"""
    input:
        attenuation=rules.attenuate.output.parcels,
        parcels=rules.select_parcels.output,
        beside=[
            f"{OUT}/correspondence/{level}.tsv"
            for level in ("voxels", "rois")
            if level == "rois" or CONFIG["nulls"]["n_voxel"]
        ],
        distances=STUDY.distances,
    output:
        tests=table("tests/correspondence"),
        nulls=f"{OUT}/correspondence/null_r.npz",
    log:
        f"{OUT}/logs/test_correspondence.txt",
    resources:
        mem_mb=memory(1500),
        runtime=minutes(60),
    params:
        tests=choose("tests", "level", "n_permutations", "smallest_r", "bayes_scale"),
        nulls=choose("nulls", "families", "n", "n_beside", "procedure"),
        verdicts=JUDGING,
        seed=CONFIG["seed"],
        null_seed=null_seed(),
        code=code_of("test_correspondence"),
    script:
        "../scripts/test_correspondence.py"
