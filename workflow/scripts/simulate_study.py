from pathlib import Path

from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.simulate import Cohort, write_study

speak_plainly(snakemake.log[0])
write_study(Cohort(**snakemake.params.cohort), Path(snakemake.output.truth).parent)
