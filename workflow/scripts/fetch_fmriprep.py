from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.fmriprep import pull

speak_plainly(snakemake.log[0])

pull(snakemake.params.chosen, snakemake.output[0], snakemake.log[1])
