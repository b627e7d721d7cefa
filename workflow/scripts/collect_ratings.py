import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.events import trial_ratings
from handhold.io import write_results
from handhold.trials import measure_runs, read_trials

speak_plainly(snakemake.log[0])
chosen = snakemake.params
runs = measure_runs(pd.DataFrame(chosen.runs), chosen.glm)
trials = read_trials(runs, chosen.events, chosen.glm["min_onset_s"])

conditions, trials = trial_ratings(trials, cue=chosen.cue)

write_results(conditions, snakemake.output.conditions[0])
write_results(trials, snakemake.output.trials[0])
