from snakemake.script import snakemake

from handhold import drawing, figures
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
tests = read_results(snakemake.input.tests[0])

figure = figures.draw_panel(tests[tests["contrast"] == snakemake.params.contrast])
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
