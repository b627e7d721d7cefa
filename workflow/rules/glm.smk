"""From BOLD to one effect and one variance image per cell (source bids and simulated)."""

if len(STUDY.runs):
    IMAGES = image_names(OUT, "{label}", CONFIG["bids"], STUDY.cells)

    rule design_runs:
        """What does each run's model look like, and can it be estimated?"""
        input:
            files=lambda wildcards: STUDY.files(
                STUDY.batches[wildcards.batch],
                ("bold", "sidecar", "confounds", "events"),
            ),
        output:
            designs=f"{OUT}/designs/{{batch}}.npz",
            runs=table("qc/batches/{batch}_runs"),
            regressors=table("qc/batches/{batch}_regressors"),
        log:
            f"{OUT}/logs/design_runs/{{batch}}.txt",
        resources:
            mem_mb=memory(500),
            runtime=minutes(10),
        params:
            runs=lambda wildcards: STUDY.runs_of(STUDY.batches[wildcards.batch]),
            events=CONFIG["events"],
            glm=choose(
                "glm",
                *("hrf", "drift", "high_pass_s", "oversampling", "min_onset_s"),
                *("slice_time_ref", "peak_duration_s", "single_trials"),
                *("warn_vif", "max_vif"),
            ),
            confounds=CONFIG["confounds"],
            code=code_of("design_runs"),
        script:
            "../scripts/design_runs.py"

    rule join_quality:
        """How good is each run?"""
        input:
            runs=many(
                expand(f"{OUT}/qc/batches/{{batch}}_runs.tsv", batch=STUDY.batches)
            ),
            regressors=many(
                expand(
                    f"{OUT}/qc/batches/{{batch}}_regressors.tsv", batch=STUDY.batches
                )
            ),
        output:
            runs=table("qc/runs"),
            regressors=table("qc/regressors"),
        log:
            f"{OUT}/logs/join_quality.txt",
        localrule: True
        params:
            code=code_of("join_quality"),
        script:
            "../scripts/join_quality.py"

    rule fit_subject:
        """How strongly does one person respond in each cell, voxel by voxel?"""
        input:
            designs=lambda wildcards: f"{OUT}/designs/{STUDY.batch_of(wildcards.label)}.npz",
            images=lambda wildcards: STUDY.files([wildcards.label], ("bold", "mask")),
        output:
            **IMAGES,
            sidecars=[
                f"{path.removesuffix('.nii.gz')}.json" for path in IMAGES.values()
            ],
        log:
            f"{OUT}/logs/fit_subject/{{label}}.txt",
        group:
            "sub-{label}"
        resources:
            mem_mb=memory(300, 1.5, of="images"),
            runtime=minutes(10, 0.02, of="images"),
        params:
            runs=lambda wildcards: STUDY.runs_of([wildcards.label]),
            cells=STUDY.cells,
            glm=choose(
                "glm",
                "noise_model",
                "smoothing_mm",
                "min_signal",
                "hrf",
                "peak_duration_s",
            ),
            code=code_of("fit_subject"),
        script:
            "../scripts/fit_subject.py"

    if STUDY.n_repeats > 1:

        rule estimate_runs:
            """How strongly does one person respond in each run, region by region?"""
            input:
                designs=lambda wildcards: f"{OUT}/designs/{STUDY.batch_of(wildcards.label)}.npz",
                files=lambda wildcards: STUDY.files([wildcards.label], ("bold", "mask")),
                rois=f"{OUT}/regions/rois.npz",
                effect=next(iter(IMAGES.values())),
            output:
                table("runs/sub-{label}_rois"),
            log:
                f"{OUT}/logs/estimate_runs/{{label}}.txt",
            resources:
                mem_mb=memory(500, 1.5, of="files"),
                runtime=minutes(10, 0.02, of="files"),
            params:
                runs=lambda wildcards: STUDY.runs_of([wildcards.label]),
                cells=STUDY.cells,
                noise_model=CONFIG["glm"]["noise_model"],
                code=code_of("estimate_runs"),
            script:
                "../scripts/estimate_runs.py"

    if CONFIG["glm"]["single_trials"]:

        rule estimate_trials:
            """How strongly does one person respond to each trial, region by region?"""
            input:
                designs=lambda wildcards: f"{OUT}/designs/{STUDY.batch_of(wildcards.label)}.npz",
                files=lambda wildcards: STUDY.files(
                    [wildcards.label], ("bold", "mask", "sidecar", "events")
                ),
                rois=f"{OUT}/regions/rois.npz",
                parcels=f"{OUT}/regions/parcels.npz",
                effect=next(iter(IMAGES.values())),
            output:
                rois=table("trials/sub-{label}_rois"),
                parcels=table("trials/sub-{label}_parcels"),
            log:
                f"{OUT}/logs/estimate_trials/{{label}}.txt",
            resources:
                mem_mb=memory(1000, 1.5, of="files"),
                runtime=minutes(10, 0.02, of="files"),
            params:
                runs=lambda wildcards: STUDY.runs_of([wildcards.label]),
                events=CONFIG["events"],
                glm=choose("glm", "min_onset_s", "slice_time_ref"),
                min_coverage=CONFIG["regions"]["min_coverage"],
                code=code_of("estimate_trials"),
            script:
                "../scripts/estimate_trials.py"

    if STUDY.rated_by_trial:

        rule collect_ratings:
            """How did each person feel in each trial, and on average in each condition?"""
            input:
                files=many(
                    STUDY.files(list(STUDY.labels), ("bold", "sidecar", "events"))
                ),
            output:
                conditions=table("ratings/conditions"),
                trials=table("ratings/trials"),
            log:
                f"{OUT}/logs/collect_ratings.txt",
            localrule: True
            params:
                runs=STUDY.runs.to_dict("list"),
                events=CONFIG["events"],
                glm=choose("glm", "min_onset_s", "slice_time_ref"),
                cue=rated_cue(CONFIG["ratings"]),
                code=code_of("collect_ratings"),
            script:
                "../scripts/collect_ratings.py"
