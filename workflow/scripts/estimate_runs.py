import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.images import read_volume
from handhold.io import read_cloud, write_results
from handhold.rundesign import load_designs
from handhold.trials import estimate_runs

speak_plainly(snakemake.log[0])
table = estimate_runs(
    pd.DataFrame(snakemake.params.runs),
    load_designs(snakemake.input.designs),
    [tuple(cell) for cell in snakemake.params.cells],
    read_cloud(snakemake.input.rois),
    read_volume(snakemake.input.effect, None, f"sub-{snakemake.wildcards.label}"),
    snakemake.params.noise_model,
)
write_results(table, snakemake.output[0])
