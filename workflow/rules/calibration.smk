"""The study repeated in worlds of known truth: `snakemake calibrate`."""

from handhold.worlds import WORLDS

PEOPLE = len(STUDY.labels)
# Cohorts of one job: some ten seconds of work; starting it takes two or three.
BATCH = 500


# World, number of people and batch to number of cohorts.
REPEATED = {
    (world, PEOPLE, i): n
    for world in WORLDS
    if world != "baselines" or STUDY.baselines_known
    for i, n in enumerate(batches(CONFIG["calibrate"]["n_replicates"], BATCH))
}
for n_subjects in CONFIG["calibrate"]["n_subjects"]:
    if n_subjects != PEOPLE:
        REPEATED |= {
            ("follows", n_subjects, i): n
            for i, n in enumerate(
                batches(CONFIG["calibrate"]["n_replicates_power"], BATCH)
            )
        }


# What the surrogates depend on, beside the tables.
SURROGATES = dict(
    contrast=CONFIG["contrasts"][0]["name"],
    maps=[CONFIG["receptors"]["target"], *CONFIG["receptors"]["panel"]],
    nulls=choose("nulls", "families", "n", "n_beside", "procedure", "method"),
    null_seed=null_seed(),
)


rule prepare_calibration:
    """What of the study is kept when it is repeated?"""
    input:
        attenuation=rules.attenuate.output.parcels,
        rois=rules.attenuate.output.rois,
        parcels=rules.select_parcels.output,
        definitions=rules.define_regions.output.definitions,
        relief=table("relief") if STUDY.rated else [],
        reliability=table("reliability") if STUDY.rated else [],
    output:
        f"{OUT}/calibration/design.npz",
    log:
        f"{OUT}/logs/prepare_calibration.txt",
    localrule: True
    params:
        kept=dict(
            contrasts=CONFIG["contrasts"],
            definition=CONFIG["regions"]["definitions"][0],
            ranked=CONFIG["nulls"]["method"] == "spearman",
            given={
                name: CONFIG["calibrate"][name]
                for name in ("reliability_attenuation", "reliability_relief")
                if name in CONFIG["calibrate"]
            },
        ),
        code=code_of("prepare_calibration"),
    script:
        "../scripts/prepare_calibration.py"


rule draw_yardsticks:
    """What are the maps of every repetition judged by?"""
    input:
        parcels=rules.select_parcels.output,
        receptors=rules.read_receptors.output.parcels,
        distances=STUDY.distances,
    output:
        target=temp(f"{OUT}/calibration/target.npz"),
        panel=temp(f"{OUT}/calibration/panel.npz"),
    log:
        f"{OUT}/logs/draw_yardsticks.txt",
    resources:
        mem_mb=memory(1500),
        runtime=minutes(30),
    params:
        surrogates=SURROGATES,
        code=code_of("draw_yardsticks"),
    script:
        "../scripts/draw_yardsticks.py"


rule repeat_study:
    """What would the study say in a world of known truth, again and again?"""
    input:
        design=rules.prepare_calibration.output,
        # deleted and drawn again as needed: what they depend on stands here instead
        target=ancient(rules.draw_yardsticks.output.target),
        panel=ancient(rules.draw_yardsticks.output.panel),
        parcels=rules.select_parcels.output,
        receptors=rules.read_receptors.output.parcels,
        distances=STUDY.distances,
    output:
        table("calibration/batches/{world}_{n_subjects}_{batch}"),
    log:
        f"{OUT}/logs/repeat_study/{{world}}_{{n_subjects}}_{{batch}}.txt",
    resources:
        mem_mb=memory(1500),
        runtime=minutes(60),
        # for the progress bar alone: as a parameter, it would have every batch run again
        batches=len(REPEATED),
    params:
        n_replicates=lambda wildcards: REPEATED[
            wildcards.world, int(wildcards.n_subjects), int(wildcards.batch)
        ],
        tests=choose(
            "tests", "level", "smallest_dz", "smallest_r", "bayes_scale", "bayes_kappa"
        ),
        nulls=choose("nulls", "procedure"),
        surrogates=SURROGATES,
        verdicts=JUDGING,
        calibrate=choose(
            "calibrate",
            *("n_permutations", "attenuation_dz", "map_dz", "map_r"),
            *("tracking_r", "coupling_r"),
        ),
        seed=CONFIG["seed"],
        code=code_of("repeat_study"),
    script:
        "../scripts/repeat_study.py"


rule join_calibration:
    """How often is each verdict right, and wrong, and how many people would it take?"""
    input:
        counts=[
            f"{OUT}/calibration/batches/{world}_{n_subjects}_{i}.tsv"
            for world, n_subjects, i in REPEATED
        ],
    output:
        rates=table("calibration"),
        needed=table("sample_size"),
    log:
        f"{OUT}/logs/join_calibration.txt",
    localrule: True
    params:
        judged={
            "level": CONFIG["tests"]["level"],
            "alpha": CONFIG["verdicts"]["alpha"],
            "smallest_r": CONFIG["tests"]["smallest_r"],
        },
        power=CONFIG["verdicts"]["power"],
        code=code_of("join_calibration"),
    script:
        "../scripts/join_calibration.py"


rule draw_calibration:
    """What do the rates of error and the power look like?"""
    input:
        rates=rules.join_calibration.output.rates,
        needed=rules.join_calibration.output.needed,
    output:
        rates=figure("calibration", "calibration"),
        power=figure("power", "calibration"),
    log:
        f"{OUT}/logs/draw_calibration.txt",
    localrule: True
    params:
        n_subjects=PEOPLE,
        alpha=CONFIG["verdicts"]["alpha"],
        code=code_of("draw_calibration"),
    script:
        "../scripts/draw_calibration.py"
