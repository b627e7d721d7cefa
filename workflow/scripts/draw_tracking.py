from snakemake.script import snakemake

from handhold import drawing, figures
from handhold.errors import speak_plainly
from handhold.io import read_results

speak_plainly(snakemake.log[0])
names = ("attenuation", "relief", "tests")
tables = {name: read_results(snakemake.input[name][0]) for name in names}
chosen = {
    name: table[table["contrast"] == snakemake.params.contrast]
    for name, table in tables.items()
}

figure = figures.draw_tracking(
    *(chosen[name] for name in names),
    unit=snakemake.params.unit,
    definition=snakemake.params.definition,
    relief_label=snakemake.params.relief,
    act=snakemake.params.act,
)
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
