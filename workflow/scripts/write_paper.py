from pathlib import Path

import pandas as pd
import yaml
from snakemake.script import snakemake

from handhold.acquisition import read_acquisition
from handhold.cobidas import fill_checklist
from handhold.errors import speak_plainly
from handhold.io import read_json, read_text, write_json, write_results, write_text
from handhold.methods import gather, write_paper
from handhold.paper import arrange, describe, render
from handhold.references import read_references

speak_plainly(snakemake.log[0])
chosen = snakemake.params
folder = Path(snakemake.output.markdown).parents[1]
results = {
    str(Path(path).relative_to(folder).with_suffix("")): read_text(path)
    for path in snakemake.input.tables
}
verdicts = read_json(snakemake.input.verdicts[0])
runs = pd.DataFrame(chosen.runs)
study = {
    **chosen.study,
    "maps": chosen.maps,
    "atlases": chosen.atlases,
    "config": yaml.safe_load(Path(snakemake.input.config).read_text("utf-8")),
    "versions": read_json(snakemake.input.versions),
    "effect": next(map(read_json, snakemake.input.effect), {}),
    "acquisition": read_acquisition(
        chosen.bids["dataset"], chosen.bids["derivatives"], runs
    )
    if len(runs)
    else {},
}
library = read_references(Path(snakemake.input.library))
template = Path(snakemake.input.template).read_text("utf-8")

paper = write_paper(results, verdicts, study, template, library)
checklist = fill_checklist(gather(results, verdicts, study, library), results)
tables = arrange(results, study)

write_text(paper.markdown, snakemake.output.markdown)
write_text(paper.latex, snakemake.output.latex)
write_text(paper.bibtex, snakemake.output.bibtex)
write_results(checklist, snakemake.output.checklist[0])
for path in map(Path, snakemake.output.tables):
    table = tables[path.stem]
    if path.suffix == ".json":
        write_json(describe(table), path)
    else:
        write_text(render(table, path.suffix), path)
