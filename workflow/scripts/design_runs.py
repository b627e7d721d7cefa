import pandas as pd
from snakemake.script import snakemake

from handhold.design import design_subjects, require_estimable, save_designs
from handhold.errors import speak_plainly
from handhold.firstlevel import measure_runs, read_trials
from handhold.io import write_results

speak_plainly(snakemake.log[0])
chosen = snakemake.params
runs = measure_runs(pd.DataFrame(chosen.runs))

designs, quality, regressors = design_subjects(
    runs, read_trials(runs, chosen.events), chosen.glm, chosen.confounds
)

require_estimable(quality, regressors, chosen.glm, chosen.confounds)
save_designs(
    {name: design for own in designs.values() for name, design in own.items()},
    snakemake.output.designs,
)
write_results(quality, snakemake.output.runs[0])
write_results(regressors, snakemake.output.regressors[0])
