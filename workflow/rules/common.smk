"""The study, read once, and the few words that the rules share."""

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from handhold.derivatives import group_names, image_names
from handhold.errors import StudyError
from handhold.provenance import software_versions
from handhold.public import NotFetchedError
from handhold.study import code_of, open_study, plan_preprocessing, rated_cue

# One BLAS thread per job is as fast as two, and two jobs do not then fight over the cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# `--config offline=true` is text to Snakemake.
if "offline" in config:
    offline = str(config.pop("offline"))
    known = {"true": True, "false": False}
    config.setdefault("fetch", {})["offline"] = known.get(offline.lower(), offline)

# What this command was given, for the commands that bring what it misses.
GIVEN = []
if files := workflow.config_settings.configfiles:
    GIVEN += ["--configfile", *map(str, files)]
if pairs := {
    k: v for k, v in workflow.config_settings.config.items() if k != "offline"
}:
    GIVEN += ["--config", *(f"{key}={value}" for key, value in pairs.items())]
FETCH = shlex.join(["snakemake", "fetch", "--cores", "1", *GIVEN])
# One person whom fMRIPrep cannot preprocess keeps nobody else waiting.
FMRIPREP = shlex.join(
    ["snakemake", "fmriprep", "--cores", "all", "--keep-going", *GIVEN]
)

# Without a study, WHY says what is missing, and what brings it.
STUDY = PREPROCESSING = WHY = None
try:
    PREPROCESSING = plan_preprocessing(config)
    if PREPROCESSING and PREPROCESSING.waiting:
        WHY = PREPROCESSING.refusal(FMRIPREP)
    else:
        STUDY = open_study(config)
except NotFetchedError as error:
    WHY = f"{error}: {FETCH}"
except StudyError as error:
    # What a study lacks beside public files keeps nobody from fetching those. Snakemake knows its
    # targets later only.
    if "fetch" not in sys.argv:
        raise WorkflowError(str(error)) from None
    WHY = str(error)

if STUDY:
    CONFIG = STUDY.config
    OUT = STUDY.folder
    QUESTIONS = {"Q1", "Q2"}
    if STUDY.rated:
        QUESTIONS |= {"Q3", "Q4"}
    if CONFIG["receptors"]["panel"]:
        QUESTIONS |= {"Q5"}


def refuse_to_start(wildcards):
    """Say why there is nothing to analyse yet."""
    raise WorkflowError(WHY)


def table(name):
    """Return the paths of a results table: TSV, and JSON sidecar."""
    return [f"{OUT}/{name}.tsv", f"{OUT}/{name}.json"]


def choose(section, *names):
    """Return some keys of a section, so that a rule reruns for these and no others."""
    return {name: CONFIG[section][name] for name in names}


if STUDY:
    # What the rule table reads; the power beside them only words a reason.
    JUDGING = choose(
        "verdicts", "alpha", "bf_for", "bf_against", "widest_null", "rules"
    )


def batches(n, size):
    """Return how many of n each batch holds."""
    full, rest = divmod(n, size)
    return [size] * full + [rest] * (rest > 0)


def null_seed():
    """Return the seed of the surrogate maps."""
    return CONFIG["nulls"].get("seed", CONFIG["seed"])


# No rule's output: what was typed differs from run to run, the results do not.
onstart:
    command = Path("results", config["study"], "provenance", "command.txt")
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(
        shlex.join(["snakemake", *sys.argv[1:]]) + "\n", encoding="utf-8"
    )


wildcard_constraints:
    label="[A-Za-z0-9]+",
