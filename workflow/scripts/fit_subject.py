from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.firstlevel import fit_subject, write_fit
from handhold.rundesign import load_designs
from handhold.runs import run_name

speak_plainly(snakemake.log[0])
runs = snakemake.params.runs
cells = [tuple(cell) for cell in snakemake.params.cells]
designs = load_designs(snakemake.input.designs, [run_name(row) for row in runs])

fit = fit_subject(runs, designs, cells, snakemake.params.glm)

write_fit(fit, dict(snakemake.output.items()), snakemake.params.glm)
