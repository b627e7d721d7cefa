from snakemake.script import snakemake

from handhold import drawing, figures
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
tests = read_results(snakemake.input.tests[0])

figure = figures.draw_coupling(
    read_results(snakemake.input.coupling[0]),
    read_results(snakemake.input.relief[0]),
    tests[tests["contrast"] == snakemake.params.contrast].iloc[0],
    relief_label=snakemake.params.relief,
    act=snakemake.params.act,
)
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
