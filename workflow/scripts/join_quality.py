import pandas as pd
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import read_results, write_results

speak_plainly(snakemake.log[0])
for kind in ("runs", "regressors"):
    tables = [read_results(path) for path in snakemake.input[kind]]
    joined = pd.concat(tables, ignore_index=True)
    ordered = joined.sort_values(["subject", "session", "run"], kind="stable")
    write_results(ordered, snakemake.output[kind][0])
