from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import write_text
from handhold.public import fetch_study
from handhold.spec import resolve

speak_plainly(snakemake.log[0])
fetch_study(resolve(snakemake.params.config), snakemake.params.command)
write_text("", snakemake.output[0])
