from pathlib import Path

from snakemake.script import snakemake

from handhold import report, viewer
from handhold.captions import describe_figures
from handhold.errors import speak_plainly
from handhold.io import read_json, read_text, write_text
from handhold.provenance import study_facts

speak_plainly(snakemake.log[0])
chosen, folder = snakemake.params, Path(snakemake.output.page).parent
paths = [Path(path) for path in (*snakemake.input.tests, *snakemake.input.tables)]
results = {
    str(path.relative_to(folder).with_suffix("")): read_text(path) for path in paths
}
view = viewer.read_view(snakemake.input.view)
described = describe_figures(results, view=view.facts, **chosen.figures)
figures = {
    name: (Path(path).read_text(encoding="utf-8"), *described[name])
    for path in snakemake.input.figures
    for name in [Path(path).stem]
}

page = report.render(
    study_facts(chosen.study, chosen.maps, chosen.atlases, folder / "provenance"),
    results,
    read_json(snakemake.input.verdicts[0]),
    figures,
    {Path(part).name: Path(part).read_text("utf-8") for part in snakemake.input.parts},
    viewer.embed(view, viewer.read_program()),
)
write_text(page, snakemake.output.page)
