import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.events import list_trials
from handhold.io import read_cloud, write_results
from handhold.rundesign import load_designs
from handhold.trials import estimate_trials, measure_runs, read_trials

speak_plainly(snakemake.log[0])
runs = measure_runs(pd.DataFrame(snakemake.params.runs))
clouds = {kind: read_cloud(snakemake.input[kind]) for kind in ("rois", "parcels")}
designs = load_designs(snakemake.input.designs)
trials = list_trials(read_trials(runs, snakemake.params.events))

tables = estimate_trials(runs, designs, trials, clouds)

for kind, table in tables.items():
    write_results(table, snakemake.output[kind][0])
