import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.extract import extract_receptors
from handhold.io import read_cloud, read_results, write_results

speak_plainly(snakemake.log[0])
maps = pd.DataFrame(snakemake.params.maps)
clouds = {kind: read_cloud(snakemake.input[kind]) for kind in ("rois", "parcels")}
definitions = read_results(snakemake.input.definitions[0])

tables = extract_receptors(
    maps,
    clouds,
    definitions,
    snakemake.params.min_coverage,
    snakemake.params.low_coverage,
)

for kind, table in tables.items():
    write_results(table, snakemake.output[kind][0])
