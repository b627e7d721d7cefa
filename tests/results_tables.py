"""Small results tables of the right shape, for the tests of figures and report.

Values are text, as read from a TSV with dtype=str, and n/a where missing. The
numbers are drawn, not analysed: a page or a figure must show them as they stand.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from handhold import rates, report

PAGE_PARTS = {
    path.name: path.read_text("utf-8")
    for path in (Path(__file__).parents[1] / "workflow/report").iterdir()
    if path.suffix in {".j2", ".css", ".js"}
}
# view.json of a study with two contrasts.
VIEW = {
    "template": {"file": "template.nii.gz", "licence": "free"},
    "attenuation": {
        "unit": "% signal change",
        "limit": 0.5,
        "lowered": "holding lowered the response",
        "raised": "holding raised the response",
        "maps": [
            {"contrast": "partner", "file": "partner.nii.gz"},
            {"contrast": "stranger", "file": "stranger.nii.gz"},
        ],
        "missing": [],
    },
    "receptor": {
        "file": "receptor.nii.gz",
        "label": "mu-opioid",
        "unit": "BP_ND",
        "limit": 2.0,
    },
    "rois": {
        "file": "rois.nii.gz",
        "definition": "aal3",
        "names": ["vACC", "Insula"],
        "labels": [{"label": 1, "rois": ["vACC"]}, {"label": 2, "rois": ["Insula"]}],
        "places": [{"name": "vACC, left", "x": -6.0, "y": 42.0, "z": 4.0}],
    },
    "grid": {"size_mm": [4.0, 4.0, 4.0], "step": 1},
}
ROIS = ("ventral_acc", "ventral_pfc", "striatum", "insula")
DEFINITIONS = ("aal3", "harvard_oxford")
CONTRASTS = ("partner", "stranger")
RECEPTORS = (
    "mu_opioid",
    "kappa_opioid",
    "d2",
    "serotonin_1a",
    "serotonin_2a",
    "cb1",
    "gaba_a",
)


def as_text(table):
    """Write every number as the TSV would: repr, n/a for NaN."""
    return table.map(
        lambda v: "n/a" if isinstance(v, float) and np.isnan(v) else str(v)
    ).astype(str)


def subjects(n):
    return [f"{i + 1:02d}" for i in range(n)]


def attenuation(rng, n=24, rois=ROIS, contrasts=CONTRASTS, definitions=DEFINITIONS):
    rows = [
        (s, d, roi, "both", "hypothesised", c, rng.normal(0.1 + 0.05 * i, 0.25))
        for d in definitions
        for i, roi in enumerate(rois)
        for c in contrasts
        for s in subjects(n)
    ]
    columns = [
        "subject",
        "definition",
        "region",
        "hemisphere",
        "role",
        "contrast",
        "attenuation",
    ]
    table = pd.DataFrame(rows, columns=columns)
    table.loc[3, "attenuation"] = np.nan
    return as_text(table)


def relief(rng, n=24, contrasts=CONTRASTS):
    rows = [(s, c, rng.normal(1.2, 1.5)) for c in contrasts for s in subjects(n)]
    table = pd.DataFrame(rows, columns=["subject", "contrast", "relief"])
    return as_text(table.assign(baseline=np.nan, held=np.nan))


def _roi_keys(table):
    keys = ["definition", "region", "hemisphere", "role", "contrast"]
    return table[keys].drop_duplicates().reset_index(drop=True)


def attenuation_tests(table, rng):
    rows = _roi_keys(table)
    values = table.assign(v=pd.to_numeric(table["attenuation"], errors="coerce"))
    groups = values.groupby(["definition", "region", "contrast"], sort=False)["v"]
    mean, sd, n = (
        groups.mean().to_numpy(),
        groups.std().to_numpy(),
        groups.count().to_numpy(),
    )
    half = 2 * sd / np.sqrt(n)
    drawn = {c: rng.uniform(0, 0.2, len(rows)) for c in ("p_t", "p", "p_fwe", "p_tost")}
    rows = rows.assign(
        question="Q1", n=n, effect=mean, low=mean - half, high=mean + half, sd=sd,
        statistic=mean / half * 2, df=n - 1, **drawn, dz=mean / sd,
        dz_low=mean / sd - 0.4, dz_high=mean / sd + 0.4, hedges_g=0.97 * mean / sd,
        g_low=mean / sd - 0.42, g_high=mean / sd + 0.42,
        bf10=rng.lognormal(0.5, 2, len(rows)), n_permutations=9999, exact=False,
        detectable_dz=0.6, verdict="inconclusive", reason="interval too wide",
    )  # fmt: skip
    rows.loc[0, "verdict"] = "supported"
    return as_text(rows)


def tracking_tests(table, rng):
    rows = _roi_keys(table)
    r = rng.uniform(-0.2, 0.6, len(rows))
    return as_text(
        rows.assign(
            question="Q3",
            n=24,
            effect=r,
            low=r - 0.35,
            high=r + 0.3,
            spearman=r - 0.02,
            skipped=r + 0.03,
            n_outliers=1,
            p=rng.uniform(0, 0.3, len(rows)),
            p_fwe=rng.uniform(0.1, 0.9, len(rows)),
            p_spearman=rng.uniform(0, 1, len(rows)),
            bf10=rng.lognormal(0, 1, len(rows)),
            loo_low=r - 0.06,
            loo_high=r + 0.06,
            most_influential="02",
            ceiling=0.81,
            detectable_r=0.54,
            n_permutations=9999,
            verdict="inconclusive",
            reason="too few",
        )
    )


def correspondence_tests():
    rows = [
        dict(
            question="Q2", receptor="mu_opioid", scope=scope, method=method,
            contrast=contrast, n=24, n_parcels=394, effect=0.312 - 0.01 * i,
            r_overall=0.42, mean_r_low=0.02, mean_r_high=0.25, mean_r=0.14, null_low=-0.24,
            null_high=0.25, null_sd=0.125, p_naive=1e-9, p_map=0.0123 + i / 50,
            p_map_of_attenuation=0.034, p_subject=0.0042, p=0.0123 + i / 50,
            statistic=2.9, bf10=6.3, p_tost=0.81, n_nulls=9999,
            null_method="Moran singleton", p_moran=0.0123 + i / 50, p_variogram=0.021,
            p_gaussian=0.034, null_sd_moran=0.125, null_sd_variogram=0.1,
            null_sd_gaussian=0.11, verdict="supported", reason="both nulls pass",
        )
        for i, (scope, method, contrast) in enumerate(
            (s, m, c)
            for c in CONTRASTS
            for s in ("all", "cortex")
            for m in ("spearman", "pearson")
        )
    ]  # fmt: skip
    return as_text(pd.DataFrame(rows))


def specificity_tests(rng, receptors=RECEPTORS):
    r = np.linspace(0.35, -0.3, len(receptors))
    return as_text(
        pd.DataFrame(
            dict(
                question="Q5", receptor=receptors, target=np.array(receptors) == receptors[0],
                label=[name.replace("_", "-") for name in receptors], n_parcels=394,
                contrast="partner", effect=r, null_low=-0.22, null_high=0.24,
                p=rng.uniform(0, 1, len(r)), p_fwe=rng.uniform(0, 1, len(r)),
                difference=r[0] - r, p_difference=rng.uniform(0, 1, len(r)),
                p_difference_fwe=[np.nan, *rng.uniform(0, 1, len(r) - 1)],
                r_with_target=np.linspace(1, 0.2, len(r)), r_with_y=0.5, vif=4.2,
                unit="BP_ND", citation="Kantonen et al. (2020)", verdict="inconclusive",
                reason="maps alike", n_nulls=9999, null_method="Moran singleton",
                p_moran=0.5, p_gaussian=0.4, p_fwe_moran=0.5, p_fwe_gaussian=0.444,
            )
        )
    )  # fmt: skip


def coupling(rng, n=24, contrasts=CONTRASTS):
    rows = [
        (s, c, "mu_opioid", np.tanh(z), z, 394)
        for c in contrasts
        for s, z in zip(subjects(n), rng.normal(0.15, 0.25, n), strict=True)
    ]
    columns = ["subject", "contrast", "receptor", "r", "fisher_z", "n_parcels"]
    return as_text(pd.DataFrame(rows, columns=columns))


def coupling_tests(contrasts=CONTRASTS):
    rows = [
        dict(
            question="Q4", receptor="mu_opioid", contrast=c, n=24, effect=0.234,
            low=-0.19, high=0.58, spearman=0.2, skipped=0.21, n_outliers=0, p=0.27,
            bf10=0.44, loo_low=0.17, loo_high=0.3, detectable_r=0.54,
            most_influential="05", ceiling=np.nan,
            verdict="inconclusive", reason="24 people detect r = .54 at best",
        )
        for c in contrasts
    ]  # fmt: skip
    return as_text(pd.DataFrame(rows))


def regions(rng, n=24, rois=ROIS, definitions=DEFINITIONS):
    rows = [
        (s, d, roi, "both", condition, "threat", "n/a", 1, 0.3, 0.02,
         np.clip(rng.normal(0.97 - 0.06 * (i == 0), 0.06), 0, 1), 62.0, 310, False)
        for d in definitions
        for i, roi in enumerate(rois)
        for s in subjects(n)
        for condition in ("alone", "partner")
    ]  # fmt: skip
    columns = (
        "subject definition region hemisphere condition cue contrast run effect "
        "variance coverage tsnr n_voxels excluded"
    )
    return as_text(pd.DataFrame(rows, columns=columns.split()))


def registration(n=24):
    """Draw qc/registration.tsv; the first person's brain was cut off."""
    covered = np.where(np.arange(n) == 0, 0.62, np.linspace(0.97, 0.99, n))
    return as_text(
        pd.DataFrame(
            dict(
                subject=subjects(n), n_images=4, mask_volume=1_800_000.0,
                dice_template=covered - 0.01, template_covered=covered, mask_outside=0.02,
            )
        )
    )  # fmt: skip


def definitions(rois=ROIS):
    rows = [
        ("roi", d, roi, "n/a", "both", "hypothesised", d, "12 34", 5120.0, 0.0, 20.1, -8.2,
         "kept", "Rolls et al. (2020)")
        for d in DEFINITIONS
        for roi in rois
    ]  # fmt: skip
    rows.append(
        ("parcel", "hcpex", "L_tiny", "subcortex", "left", "n/a", "hcpex", "401", 24.0,
         -12.0, 3.0, 1.0, "dropped", "Huang et al. (2022)")
    )  # fmt: skip
    rows.append(
        ("parcel", "hcpex", "L_V1", "cortex", "left", "n/a", "hcpex", "1", 9024.0,
         -12.0, -83.0, 1.0, "kept", "Huang et al. (2022)")
    )  # fmt: skip
    columns = (
        "kind definition region structure hemisphere role atlas labels volume x y z "
        "status source"
    )
    return as_text(pd.DataFrame(rows, columns=columns.split()))


def overlap(rois=ROIS):
    dice = [0.15, 0.41, 0.82, 0.77][: len(rois)]
    table = pd.DataFrame({"region": rois[: len(dice)], "definition_a": "aal3"})
    table = table.assign(
        definition_b="harvard_oxford", volume_a=5120.0, volume_b=8136.0
    )
    return as_text(table.assign(dice=dice))


def exclusions():
    rows = [
        ("regions", "07", "ventral_acc", "partner", "cell", 1, "coverage 62 % < 80 %"),
        ("manifest", "19", "n/a", "n/a", "subject", 1, "no rating"),
    ]
    columns = ["stage", "subject", "region", "contrast", "what", "n", "reason"]
    return as_text(pd.DataFrame(rows, columns=columns))


VERDICTS = {
    "study": "demo",
    "rule": {
        "alpha": 0.05,
        "bf_against": 0.3333333333333333,
        "widest_null": 0.3,
        "power": 0.8,
        "rules": [
            {
                "if": ["p_passes", "positive"],
                "verdict": "supported",
                "reason": "p passes alpha <as hoped>",
            },
            {
                "if": ["bf_against"],
                "verdict": "evidence against",
                "reason": "the Bayes factor favours no effect",
            },
            {"if": [], "verdict": "inconclusive", "reason": "neither is shown"},
        ],
    },
    "combination": {"Q1": "supported if any <ROI> is", "Q2": "both nulls have to pass"},
    "questions": [
        {
            "question": "Q1",
            "title": "Attenuation",
            "verdict": "supported",
            "sentence": "Holding the partner's hand lowered the response in ventral ACC.",
            "reason": "p (FWE) is below .05 and the Bayes factor above 3.",
            "inputs": {
                "effect": 0.12345,
                "low": 0.0512,
                "high": 0.2011,
                "p_fwe": 0.0042,
                "bf10": 12.34,
                "n": 24,
                "region": "ventral_acc",
                "contrast": "partner",
            },
        },
        {
            "question": "Q2",
            "title": "Correspondence",
            "verdict": "supported",
            "sentence": "Attenuation follows mu-opioid binding beyond what smooth maps share.",
            "reason": "Both nulls pass; p is the larger of the two.",
            "inputs": {
                "effect": 0.312,
                "mean_r": 0.14,
                "mean_r_low": 0.02,
                "mean_r_high": 0.25,
                "p": 0.0123,
                "bf10": 6.3,
            },
        },
        {
            "question": "Q3",
            "title": "Tracking",
            "verdict": "inconclusive",
            "sentence": "Whether people who calm more feel more relief cannot be said.",
            "reason": "24 people detect r = .54 at best.",
            "inputs": {
                "effect": 0.2,
                "low": -0.19,
                "high": 0.55,
                "p": 0.31,
                "bf10": 0.5,
            },
        },
        {
            "question": "Q4",
            "title": "Coupling",
            "verdict": "evidence against",
            "sentence": "Relief does not depend on how closely attenuation follows the map.",
            "reason": "The Bayes factor is below 1/3.",
            "inputs": {
                "effect": 0.02,
                "low": -0.3,
                "high": 0.33,
                "p": 0.9,
                "bf10": 0.21,
            },
        },
        {
            "question": "Q5",
            "title": "Specificity",
            "verdict": "not run",
            "sentence": "Specificity was not tested.",
            "reason": "The study gives one receptor map; a panel needs at least two.",
            "inputs": {},
        },
    ],
}


def exclusions_by_stage():
    return as_text(
        pd.DataFrame(
            [
                ("regions", "cell", "n/a", "partner", 1, 1),
                ("manifest", "subject", "n/a", "n/a", 1, 3),
            ],
            columns=["stage", "what", "definition", "contrast", "n_subjects", "n"],
        )
    )


def runs(rng, n=20, names=("1", "2", "3")):
    """Draw qc/review.tsv; every ninth subject moved a lot, and the tables warn of it."""
    people = np.repeat(subjects(n), len(names))
    moved = np.repeat(np.arange(n) % 9 == 3, len(names))
    mean_fd = rng.gamma(9, 0.017, len(people)) * np.where(moved, 2.6, 1)
    n_censored = rng.poisson(6 * (mean_fd / 0.15) ** 2)
    vif = 1 + rng.gamma(2, 0.3, len(people)) + 4.2 * moved
    return as_text(
        pd.DataFrame(
            dict(
                subject=people, session=np.nan, run=[*names] * n, n_volumes=300,
                n_kept=300 - n_censored, n_censored=n_censored, censored=n_censored / 300,
                n_non_steady=2, mean_fd=mean_fd, max_fd=mean_fd * 6, n_over_fd=n_censored,
                n_columns=43, n_confounds=26, rank=43, df=257 - n_censored,
                condition_number=18.4, dependent=np.nan, largest_vif=vif,
                largest_r_motion=np.clip(rng.gamma(3, 0.05, len(people)) + 0.2 * moved, 0, 1),
                largest_high_pass_loss=rng.beta(2, 30, len(people)),
                warnings=[
                    f"alone_threat: VIF {v:.1f} > 5; r = 0.71 with trans_y" if v > 5 else "n/a"
                    for v in vif
                ],
            )
        )
    )  # fmt: skip


def runs_summary():
    return as_text(
        pd.DataFrame(
            dict(
                n_subjects=[20], n_runs=60, total_volumes=18000, total_censored=612,
                share_censored=0.034, highest_censored=0.193, average_fd=0.1723, df_low=199,
                df_high=257, n_warned=4,
            )
        )
    )  # fmt: skip


def regressors(review, cells=("alone_threat", "alone_safe")):
    """Draw qc/regressors.tsv of these runs; the first cell has the largest numbers."""
    rows = review.loc[review.index.repeat(len(cells))].reset_index(drop=True)
    first = np.arange(len(rows)) % len(cells) == 0
    condition, cue = zip(*[c.split("_") for c in cells], strict=True)
    n = len(review)
    vif, r, loss = (
        pd.to_numeric(rows[f"largest_{name}"]) * np.where(first, 1, 0.7)
        for name in ("vif", "r_motion", "high_pass_loss")
    )
    words = rows["warnings"].str.removeprefix("alone_threat: ").where(first, "n/a")
    return as_text(
        rows[["subject", "session", "run"]].assign(
            regressor=[*cells] * n, condition=[*condition] * n, cue=[*cue] * n, n_events=12,
            total_duration=84.5, vif=vif, most_alike="trans_y", r_most_alike=-r,
            motion_parameter="trans_z", r_motion=-r, high_pass_loss=loss, n_censored_events=0,
            n_late_events=0, warnings=words,
        )
    )  # fmt: skip


# What is planted in each world of a calibration, by question; and what is counted.
PLANTED = {
    "nothing": {},
    "elsewhere": {"Q1": 0.5},
    "follows": {"Q1": 0.5, "Q2": 0.7, "Q3": 0.4, "Q4": 0.4, "Q5": 0.7},
    "axis": {"Q1": 0.5, "Q2": 0.64, "Q5": 0.64},
    "baselines": {"Q1": 0.5},
}
COUNTED = {
    "Q1": ["p in vACC", "family-wise p in any ROI"],
    "Q2": ["naive p", "subject null", "map null (Moran singleton)", "both nulls"],
    "Q3": ["p in vACC", "family-wise p in any ROI"],
    "Q4": ["permutation p"],
    "Q5": ["target, family-wise p", "target ahead of every map"],
}
SAID = ["supported", "evidence against", "inconclusive"]


def calibration_counts(rejected=None):
    """Counts of every world at 30 people, and of `follows` at 16 and 64."""
    rng = np.random.default_rng(1)
    sizes = [(world, 30) for world in PLANTED] + [("follows", 16), ("follows", 64)]
    rows = []
    for world, n in sizes:
        for question, names in COUNTED.items():
            planted = PLANTED[world].get(question, 0.0)
            for test in [*names, *SAID]:
                meaning = rates.meaning_of(world, question, test, planted, 0.1)
                often = 0 if meaning == "error" else 100 * np.sqrt(n)
                chance = int(rng.integers(5, 60))
                if meaning == "error" and test in rates.ONE_SIDED:
                    chance //= 2
                rows.append(
                    {
                        **{"world": world, "n_subjects": n, "planted": planted},
                        **{"question": question, "test": test, "n_replicates": 1000},
                        "n_rejected": int(often) + chance,
                    }
                )
    counts = pd.DataFrame(rows)
    for (world, question, test), n_rejected in (rejected or {}).items():
        chosen = counts[["world", "question", "test"]] == [world, question, test]
        counts.loc[chosen.all(axis=1), "n_rejected"] = n_rejected
    return counts


def calibration(rejected=None):
    """The two tables of a calibration, as text."""
    table = rates.rate(
        calibration_counts(rejected), level=0.95, alpha=0.05, smallest_r=0.1
    )
    needed = rates.needed_subjects(table, 0.8)
    flags = {
        name: table[name].map({True: "true", False: "false"})
        for name in ("is_error", "decides")
    }
    return {
        "calibration": as_text(table.assign(**flags)),
        "sample_size": as_text(needed),
    }


def partials():
    held = ["y axis", "grey matter", "all other maps"]
    return as_text(
        pd.DataFrame(
            dict(
                question="Q5", contrast="partner", given=held, n_parcels=394, n=24,
                unadjusted=0.312, effect=[0.04, 0.28, 0.21], null_low=-0.23, null_high=0.24,
                p_map=[0.79, 0.0123, 0.045], p_subject=0.002, p=[0.79, 0.0123, 0.045],
                mean_r=0.1, mean_r_low=0.03, mean_r_high=0.19, r_squared=[0.3, 0.31, 0.923],
                warnings=[np.nan, np.nan, "the others explain 0.923 of this map"],
            )
        )
    )  # fmt: skip


def joint(receptors=RECEPTORS):
    n = len(receptors)
    return as_text(
        pd.DataFrame(
            dict(
                question="Q5", receptor=receptors, contrast="partner",
                target=[True] + [False] * (n - 1),
                label=[name.replace("_", "-") for name in receptors], n_parcels=394,
                weight=np.linspace(-0.42, 0.3, n), null_low=-0.4, null_high=0.41, p=0.035,
                p_fwe=0.52, vif=np.linspace(2, 11, n), model_r_squared=0.386, p_model=0.01,
                dominance=0.0674, dominance_share=0.185, gain_alone=0.038, gain_last=0.086,
                dominates=["kappa-opioid"] + [np.nan] * (n - 1), warnings=np.nan,
            )
        )
    )  # fmt: skip


def results(rng, n=24, rois=ROIS):
    """All tables that a page of a study of BOLD shows."""
    of_people = attenuation(rng, n, rois)
    return {
        "tests/attenuation": attenuation_tests(of_people, rng),
        "tests/correspondence": correspondence_tests(),
        "tests/tracking": tracking_tests(of_people, rng),
        "tests/coupling": coupling_tests(),
        "tests/specificity": specificity_tests(rng),
        "regions/overlap": overlap(rois),
        "regions/definitions": definitions(rois),
        "exclusions_by_stage": exclusions_by_stage(),
        "exclusions": exclusions(),
        "qc/registration": registration(),
        **of_runs(rng, min(n, 9) if n < 100 else n),
    }


def of_runs(rng, n=9):
    review = runs(rng, n)
    return {
        "qc/summary": runs_summary(),
        "qc/review": review,
        "qc/regressors": regressors(review),
    }


def render(found, verdicts=VERDICTS, figures=None, **study):
    study = {"title": "A study", **study}
    return report.render(study, found, verdicts, figures or {}, PAGE_PARTS)
