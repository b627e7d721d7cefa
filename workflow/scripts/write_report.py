from pathlib import Path

from snakemake.script import snakemake

from handhold import report, tables
from handhold.errors import speak_plainly
from handhold.io import (
    read_json,
    read_results,
    read_text_table,
    write_results,
    write_text,
)

speak_plainly(snakemake.log[0])
folder = Path(snakemake.params.folder)
paths = [*snakemake.input.tests, *snakemake.input.tables]
results = {
    str(Path(p).relative_to(folder).with_suffix("")): read_text_table(p) for p in paths
}
