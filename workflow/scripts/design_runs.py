import pandas as pd
from snakemake.script import snakemake

from handhold.design import design_subjects, require_estimable
from handhold.errors import speak_plainly
from handhold.io import write_results
from handhold.rundesign import save_designs
from handhold.trials import measure_runs, read_trials

speak_plainly(snakemake.log[0])
chosen = snakemake.params
runs = measure_runs(pd.DataFrame(chosen.runs), chosen.glm)
trials = read_trials(runs, chosen.events, chosen.glm["min_onset_s"])

designs, quality, regressors = design_subjects(
    runs, trials, chosen.glm, chosen.confounds
)

require_estimable(quality, regressors, chosen.glm, chosen.confounds)
save_designs(
    {name: design for own in designs.values() for name, design in own.items()},
    snakemake.output.designs,
)
write_results(quality, snakemake.output.runs[0])
write_results(regressors, snakemake.output.regressors[0])
