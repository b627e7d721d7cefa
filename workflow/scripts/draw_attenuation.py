from snakemake.script import snakemake

from handhold import drawing, figures
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
figure = figures.draw_attenuation(
    read_results(snakemake.input.attenuation[0]),
    read_results(snakemake.input.tests[0]),
    snakemake.params.unit,
    definition=snakemake.params.definition,
    act=snakemake.params.act,
)
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
