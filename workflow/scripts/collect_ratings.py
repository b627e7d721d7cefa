import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.events import trial_ratings
from handhold.io import write_results
from handhold.trials import measure_runs, read_trials

speak_plainly(snakemake.log[0])
runs = measure_runs(pd.DataFrame(snakemake.params.runs))
trials = read_trials(runs, snakemake.params.events)

conditions, trials = trial_ratings(trials, cue=snakemake.params.cue)

write_results(conditions, snakemake.output.conditions[0])
write_results(trials, snakemake.output.trials[0])
