from snakemake.script import snakemake

from handhold import drawing, figures
from handhold.errors import speak_plainly
from handhold.io import read_arrays, read_results

speak_plainly(snakemake.log[0])
chosen = snakemake.params
parcels = read_results(snakemake.input.parcels[0])
parcels = parcels[parcels["used"] & (parcels["contrast"] == chosen.contrast)]
tests = read_results(snakemake.input.tests[0])
test = tests[
    (tests["scope"] == "all")
    & (tests["method"] == chosen.method)
    & (tests["contrast"] == chosen.contrast)
].iloc[0]
arrays = read_arrays(snakemake.input.nulls)
null_r = {
    family: arrays[f"{chosen.contrast} {chosen.method} {family}"]
    for family in chosen.families
}

figure = figures.draw_correspondence(
    *(parcels[name].to_numpy() for name in ("binding", "group", "structure")),
    null_r,
    test,
    regions=list(parcels["region"]),
    unit=chosen.unit,
    act=chosen.act,
    receptor_label=chosen.receptor,
)
drawing.save(figure, snakemake.output[0].removesuffix(".svg"))
