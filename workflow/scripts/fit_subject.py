import pandas as pd
from snakemake.script import snakemake

from handhold.derivatives import write_fit
from handhold.design import load_designs
from handhold.errors import speak_plainly
from handhold.firstlevel import fit_subject

speak_plainly(snakemake.log[0])
runs = pd.DataFrame(snakemake.params.runs)
cells = [tuple(cell) for cell in snakemake.params.cells]
designs = load_designs(snakemake.input.designs)

fit = fit_subject(runs, designs, cells, snakemake.params.glm)

write_fit(fit, dict(snakemake.output.items()), snakemake.params.glm)
