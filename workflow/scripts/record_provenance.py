import pandas as pd
import yaml
from snakemake.script import snakemake

from handhold.errors import speak_plainly
from handhold.io import write_json, write_results, write_text
from handhold.provenance import BIDSIGNORE, describe_dataset, introduce, list_inputs

speak_plainly(snakemake.log[0])
groups = {
    "images": snakemake.params.images,
    **{kind: list(snakemake.input.get(kind)) for kind in ("maps", "tables", "atlases")},
}

write_results(list_inputs(groups), snakemake.output.inputs[0])
write_results(pd.DataFrame(snakemake.params.sources), snakemake.output.sources[0])
write_text(
    yaml.safe_dump(snakemake.params.config, sort_keys=False), snakemake.output.config
)
write_json(snakemake.params.versions, snakemake.output.versions)
write_json(
    describe_dataset(
        snakemake.params.config["title"],
        snakemake.params.source,
        snakemake.params.versions,
    ),
    snakemake.output.description,
)
write_text(BIDSIGNORE, snakemake.output.ignored)
write_text(
    introduce(snakemake.params.config["title"], snakemake.params.versions),
    snakemake.output.readme,
)
