from pathlib import Path

from snakemake.script import snakemake

from handhold import progress
from handhold.calibrate import Choices, count_rejections
from handhold.errors import speak_plainly
from handhold.io import read_arrays, write_results
from handhold.replica import Design
from handhold.spec import random_stream
from handhold.worlds import World
from handhold.yardsticks import Yardsticks

speak_plainly(snakemake.log[0])
chosen, labels = snakemake.params, snakemake.wildcards
design = Design.of(read_arrays(snakemake.input.design[0]))
yardsticks = Yardsticks(
    read_arrays(snakemake.input.target),
    **read_arrays(snakemake.input.panel),
)

counts = count_rejections(
    World(labels.world, design, chosen.calibrate),
    yardsticks,
    int(labels.n_subjects),
    chosen.n_replicates,
    Choices(chosen.tests, chosen.nulls, chosen.verdicts, chosen.calibrate),
    random_stream(chosen.seed, "repeat_study " + " ".join(labels)),
)

write_results(counts, snakemake.output[0])
batches = [*Path(snakemake.output[0]).parent.glob("[!.]*.tsv")]
progress.show(batches, snakemake.resources.batches, "calibration, batches")
