from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.fmriprep import run

speak_plainly(snakemake.log[0])
command, folders = snakemake.params.command, snakemake.params.folders

run(command, snakemake.log[1], folders)
