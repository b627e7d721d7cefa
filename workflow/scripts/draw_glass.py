from snakemake.script import snakemake

from handhold import brain, drawing, figures_brain, viewer
from handhold.errors import speak_plainly

speak_plainly(snakemake.log[0])
view = viewer.read_view(snakemake.input.view)

figure = figures_brain.draw_glass(
    *brain.glass_maps(view),
    attenuation=view.facts["attenuation"],
    receptor=view.facts["receptor"],
)

drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
