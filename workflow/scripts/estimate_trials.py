import pandas as pd
from snakemake.script import snakemake

from handhold.coverage import gate
from handhold.errors import speak_plainly
from handhold.events import list_trials
from handhold.images import read_volume
from handhold.io import read_cloud, write_results
from handhold.rundesign import load_designs
from handhold.trials import estimate_trials, measure_runs, read_trials

speak_plainly(snakemake.log[0])
chosen = snakemake.params
runs = measure_runs(pd.DataFrame(chosen.runs), chosen.glm)
clouds = {kind: read_cloud(snakemake.input[kind]) for kind in ("rois", "parcels")}
designs = load_designs(snakemake.input.designs)
trials = list_trials(read_trials(runs, chosen.events, chosen.glm["min_onset_s"]))
effect = read_volume(snakemake.input.effect, None, f"sub-{snakemake.wildcards.label}")

tables = estimate_trials(runs, designs, trials, clouds, effect)

for kind, table in tables.items():
    write_results(gate(table, chosen.min_coverage), snakemake.output[kind][0])
