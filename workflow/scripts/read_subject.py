import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.extract import extract
from handhold.io import read_cloud, write_results

speak_plainly(snakemake.log[0])
rows = pd.DataFrame(snakemake.params.rows)
clouds = {kind: read_cloud(snakemake.input[kind]) for kind in ("rois", "parcels")}

tables = extract(
    rows,
    clouds,
    analyze_orientation=snakemake.params.orientation,
    zero_is_missing=snakemake.params.zero_is_missing,
)

for kind, table in tables.items():
    write_results(table, snakemake.output[kind][0])
