from pathlib import Path

from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import write_results
from handhold.provenance import list_results

speak_plainly(snakemake.log[0])
tables = [Path(path) for path in snakemake.input.tables]
folder = Path(snakemake.output[0]).parents[1]

write_results(list_results(tables, folder), snakemake.output[0])
