from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.fmriprep import preprocess

speak_plainly(snakemake.log[0])
command, folders = snakemake.params.command, snakemake.params.folders

preprocess(command, folders, snakemake.output[0], snakemake.log[1])
