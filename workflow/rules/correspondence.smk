"""Q2: group and subject maps against the receptor map, with two nulls."""


rule select_parcels:
    """Which parcels have both attenuation and binding?"""
    input:
        attenuation=rules.attenuate.output.parcels,
        receptors=rules.read_receptors.output.parcels,
        definitions=rules.define_regions.output.definitions,
        code=code_of("select_parcels"),
    output:
        table("correspondence/parcels"),
    log:
        f"{OUT}/logs/select_parcels.txt",
    params:
        target=CONFIG["receptors"]["target"],
        min_subjects=CONFIG["regions"]["min_subjects"],
        min_parcels=CONFIG["nulls"]["min_parcels"],
    script:
        "../scripts/select_parcels.py"


rule test_correspondence:
    """Q2: does the attenuation map follow the receptor map, beyond what smooth maps share?"""
    input:
        attenuation=rules.attenuate.output.parcels,
        parcels=rules.select_parcels.output,
        distances=STUDY.distances,
        code=code_of("test_correspondence"),
    output:
        tests=table("tests/correspondence"),
        nulls=f"{OUT}/correspondence/null_r.npz",
    log:
        f"{OUT}/logs/test_correspondence.txt",
    params:
        tests=choose("tests", "level", "n_permutations", "smallest_r", "bayes_scale"),
        nulls=choose("nulls", "families", "n", "n_beside", "procedure"),
        verdicts=CONFIG["verdicts"],
        seed=CONFIG["seed"],
        null_seed=null_seed(),
    script:
        "../scripts/test_correspondence.py"
