"""The study, read once, and the few words that the rules share."""

import gc
import os
import shlex
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import is_flagged

from handhold.derivatives import group_names, image_names
from handhold.errors import RUN, StudyError
from handhold.fmriprep import is_wanted
from handhold.io import require_writable, write_results
from handhold.progress import (
    Follower,
    part_on_error,
    part_on_interrupt,
    part_on_success,
)
from handhold.provenance import list_steps, software_versions
from handhold.public import NotFetchedError
from handhold.resources import memory as ask_memory, minutes
from handhold.spec import require_readable, results_folder
from handhold.study import code_of, open_study, plan_preprocessing, rated_cue
from handhold.written import Written, made_by, require_past, tell_changed

# Planning makes millions of objects that all stay: to look through them for garbage as often as
# Python does by default takes a quarter of the time.
gc.set_threshold(200_000, 50, 50)

# One BLAS thread per job is as fast as two, and two jobs do not then fight over the cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# A job ends with the Snakemake that started it.
os.environ[RUN] = str(os.getpid())

# `--config offline=true` is text to Snakemake.
if "offline" in config:
    offline = str(config.pop("offline"))
    known = {"true": True, "false": False}
    config.setdefault("fetch", {})["offline"] = known.get(offline.lower(), offline)

# `--config verify=true` looks at the content of every result, and is no key of a study.
VERIFY = str(config.pop("verify", False)).lower()
if VERIFY not in {"true", "false"}:
    raise WorkflowError(f"--config verify={VERIFY}: it is either true or false.")

# What this command was given, for the commands that bring what it misses.
GIVEN = []
if files := workflow.config_settings.configfiles:
    GIVEN += ["--configfile", *map(str, files)]
if pairs := {
    k: v
    for k, v in workflow.config_settings.config.items()
    if k not in {"offline", "verify"}
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

# What a job asks a cluster for, which it is started on by Snakemakes that read of everyone.
memory = partial(ask_memory, people=len(STUDY.labels) if STUDY else 0)

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


# What the results should be. Looked at by who plans, not by the nested Snakemakes of a cluster.
WRITTEN = Written(OUT)
CHANGED = {}
PLANNING = STUDY and workflow.is_main_process
RUNNING = PLANNING and not workflow.output_settings.dryrun


def locks():
    """Return how many Snakemakes have locked results of this study; each has a list of them."""
    n = 0
    for path in Path(".snakemake", "locks").glob("*.output.lock"):
        # another run may end meanwhile
        with suppress(FileNotFoundError):
            n += f"\n{OUT}/" in f"\n{path.read_text('utf-8')}"
    return n


if PLANNING:
    CHANGED = WRITTEN.look(verify=VERIFY == "true")
    if RUNNING and WRITTEN.moved and not locks():
        WRITTEN.settle()


# Whenever a job ends, Snakemake looks at every input of all that are ready, which takes hours where
# each of many people has one: of more than these, or than may run, it takes some by chance.
AT_A_TIME = 20


def plan(build=workflow._build_dag):
    """Have Snakemake plan anew what is not there as it was written, and what was broken off.

    To name these files as --forcerun does would ask for those too that this run does not need.
    """
    workflow.dag_settings.force_incomplete = True
    # Times alone decide. By the content of small files a job would be taken for done where one of
    # the files that it reads is as before, and another, which Snakemake was not told of, is new.
    workflow.dag.max_checksum_file_size = -1
    workflow.dag.forcefiles |= made_by(CHANGED)
    if workflow.scheduling_settings:
        may_run = (workflow.resource_settings.nodes, workflow.resource_settings.cores)
        workflow.scheduling_settings.subsample = (
            workflow.scheduling_settings.subsample
            or max(AT_A_TIME, *(n or 0 for n in may_run))
        )
    build()
    outputs = (path for job in workflow.dag.needrun_jobs() for path in job.output)
    verified = PLANNING and VERIFY == "true"
    sys.stderr.write(tell_changed(CHANGED, outputs, verified=verified))
    if RUNNING:
        workflow.dag.finish = partial(record, finish=workflow.dag.finish)


async def record(job, *arguments, finish, **options):
    """Record what a job that has ended wrote and read, whatever Snakemake prints of it."""
    for own in job if job.is_group() else [job]:
        WRITTEN.add(*kept_files(own))
    return await finish(job, *arguments, **options)


workflow._build_dag = plan


def kept_files(job):
    """Return what a job writes and keeps, and what it reads that no job makes."""
    made = set().union(*workflow.dag.dependencies[job].values())
    outputs = [path for path in job.output if not is_flagged(path, "temp")]
    return outputs, sorted(set(job.input) - made)


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


def many(files):
    """Give a list of files as a function of the wildcards.

    Of each file of a list that it is given as such, Snakemake hashes the whole list again: at
    1,000 people, minutes.
    """
    return lambda wildcards: files


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
    try:
        require_writable(OUT)
        require_writable(".snakemake")
        # one is this run's
        if locks() <= 1:
            WRITTEN.settle()
            WRITTEN.sweep()
        require_past(
            {path for job in workflow.dag.needrun_jobs() for path in job.input}
        )
    except StudyError as error:
        raise WorkflowError(str(error)) from None
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
    follower = Follower(name for name, _, runs in jobs if runs)
    FOLLOWERS.append(follower)
    logger.addHandler(FOLLOWERS[0])


onsuccess:
    asked = {job.rule.name for job in workflow.dag.jobs}
    page = Path(OUT, "report.html") if "write_report" in asked else None
    sys.stderr.write(part_on_success(FOLLOWERS[0].took, page))


onerror:
    follower = FOLLOWERS[0]
    if follower.interrupted:
        sys.stderr.write(part_on_interrupt(follower.took))
    else:
        sys.stderr.write(part_on_error(follower.took, follower.failed))


wildcard_constraints:
    label="[A-Za-z0-9]+",
