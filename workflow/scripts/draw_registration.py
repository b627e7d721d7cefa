from snakemake.script import snakemake

from handhold import drawing, figures_quality
from handhold.errors import speak_plainly
from handhold.io import read_arrays, read_results

speak_plainly(snakemake.log[0])
figure = figures_quality.draw_registration(
    read_results(snakemake.input.table[0]),
    read_arrays(snakemake.input.planes),
    sheet=snakemake.params.sheet,
)
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
