"""The study, read once, and the few words that the rules share."""

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from handhold.derivatives import group_names, image_names
from handhold.errors import StudyError
from handhold.fmriprep import is_wanted
from handhold.io import write_results
from handhold.progress import Follower, part_on_error, part_on_success
from handhold.provenance import list_steps, software_versions
from handhold.public import NotFetchedError
from handhold.spec import require_readable, results_folder
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
    # once, and not again in every job
    if workflow.is_main_process:
        require_readable(workflow.config_settings.configfiles or workflow.configfiles)
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

# Who follows the run, once it has started.
FOLLOWERS = []
OUT = results_folder(config)
if STUDY:
    CONFIG = STUDY.config
    QUESTIONS = {"Q1", "Q2"}
    if STUDY.rated:
        QUESTIONS |= {"Q3", "Q4"}
    if CONFIG["receptors"]["panel"]:
        QUESTIONS |= {"Q5"}


def refuse_to_start(wildcards):
    """Say why there is nothing to analyse yet."""
    raise WorkflowError(WHY)


def refuse_to_preprocess(wildcards):
    """Say why nobody is preprocessed, where done would be taken for preprocessed."""
    if is_wanted(config):
        raise WorkflowError(WHY)
    raise WorkflowError(
        "the study does not ask for preprocessing: put fmriprep.run to true, with "
        "fmriprep.license_file, to have fMRIPrep write into bids.derivatives."
    )


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


# Where snakemake --report lists a figure.
CATEGORIES = {
    "Q1": "Q1 Attenuation",
    "Q2": "Q2 Correspondence",
    "Q3": "Q3 Tracking",
    "Q4": "Q4 Coupling",
    "Q5": "Q5 Specificity",
    "quality": "Data quality",
    "calibration": "Calibration and power",
}


def figure(name, of="quality", caption=None):
    """Return the paths of a figure, SVG and PNG; snakemake --report shows it with its caption.

    `caption` names the file of workflow/report where it is not the figure's name.
    """
    drawn = report(
        f"{OUT}/figures/{name}.svg",
        caption=f"../report/{caption or name}.rst",
        category=CATEGORIES[of],
        labels={"figure": name},
    )
    return [drawn, f"{OUT}/figures/{name}.png"]


# No rule's output: what was typed and what had to run differ from run to run, results do not.
onstart:
    jobs = [
        (job.rule.name, job.rule.docstring or "", workflow.dag.needrun(job))
        for job in workflow.dag.jobs
    ]
    # What fetches, preprocesses or calibrates alone writes no page, which names its own run.
    if any(name == "write_report" and runs for name, _, runs in jobs):
        folder = Path(OUT, "provenance")
        folder.mkdir(parents=True, exist_ok=True)
        command = shlex.join(["snakemake", *sys.argv[1:]])
        (folder / "command.txt").write_text(f"{command}\n", encoding="utf-8")
        # a target that is no step asks nothing
        steps = list_steps(job for job in jobs if job[1])
        write_results(steps, folder / "steps.tsv")
    FOLLOWERS.append(Follower(name for name, _, runs in jobs if runs))
    logger.addHandler(FOLLOWERS[0])


onsuccess:
    asked = {job.rule.name for job in workflow.dag.jobs}
    page = Path(OUT, "report.html") if "write_report" in asked else None
    sys.stderr.write(part_on_success(FOLLOWERS[0].took, page))


onerror:
    sys.stderr.write(part_on_error(FOLLOWERS[0].took, FOLLOWERS[0].failed))


wildcard_constraints:
    label="[A-Za-z0-9]+",
