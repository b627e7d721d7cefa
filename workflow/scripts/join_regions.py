import pandas as pd
from snakemake.script import snakemake

from handhold.coverage import gate, require_rois
from handhold.errors import speak_plainly
from handhold.io import read_results, write_results

speak_plainly(snakemake.log[0])
least = snakemake.params.min_coverage
definitions = read_results(snakemake.input.definitions[0])

rois = pd.concat(map(read_results, snakemake.input.rois), ignore_index=True)
names = (
    rois.pop("region")
    .str.split("/", n=1, expand=True)
    .set_axis(["definition", "region"], axis=1)
)
rois = pd.concat([names, rois], axis=1).merge(
    definitions[["definition", "region", "hemisphere", "role"]],
    on=["definition", "region"],
)
require_rois(rois, least)
write_results(gate(rois, least), snakemake.output.rois[0])

parcels = pd.concat(map(read_results, snakemake.input.parcels), ignore_index=True)
parcels = parcels.merge(definitions[["region", "structure"]].dropna(), on="region")
write_results(gate(parcels, least), snakemake.output.parcels[0])
