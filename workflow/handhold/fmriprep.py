"""fMRIPrep in a container: who waits for it, and the commands that run it."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from handhold import bids, spec
from handhold.errors import StudyError
from handhold.io import replacing, write_text

# Where a container's folders are bound; fMRIPrep sees these paths and no others.
DATA, OUT, WORK, LICENSE = "/data", "/out", "/scratch", "/license.txt"
# What parts a path from its place in the container, in the options of both engines.
SEPARATORS = ":,"
# What Snakemake would fill something in between.
FILLED_IN = "{}<>"
# Threads beyond these do not make a single tool of fMRIPrep faster (its own default).
MOST_THREADS = 8
# People, and lines of a failed command's output, that a message has.
SHOWN = 10
SHOWN_LINES = 15


@dataclass(frozen=True)
class Plan:
    """Preprocessing of a study.

    `waiting`: labels of the people not yet preprocessed, of `n_people`; `bids` and `chosen`, the
    sections `bids` and `fmriprep` with full paths; `image`, the file of the container (docker:
    the file that says it was pulled).
    """

    study: str
    waiting: tuple[str, ...]
    n_people: int
    bids: dict
    chosen: dict
    image: str

    def receipt(self, label: str) -> str:
        """Return the file that is written when a person is done."""
        return str(_receipt(self.bids, label))

    def command(self, label: str) -> list[str]:
        """Return the command that preprocesses one person, as a list: no shell reads it."""
        return run_command(self.bids, self.chosen, self.image, label)

    def refusal(self, command: str) -> str:
        """Say who waits, and the `command` that the analysis needs before it can start."""
        people = ", ".join(f"sub-{label}" for label in self.waiting[:SHOWN])
        more = ", ..." if len(self.waiting) > SHOWN else ""
        return (
            f"{len(self.waiting)} of {self.n_people} people wait for fMRIPrep ({people}{more}). "
            f"Run first: {command}\nThen run this command again. Exclude with the reason in "
            "bids.exclude whom fMRIPrep cannot preprocess; put fmriprep.run to false to analyse "
            "the derivatives as they are."
        )


def is_wanted(config: dict) -> bool:
    """Tell whether a study, as read from its YAML file, asks for preprocessing."""
    section = config.get("fmriprep")
    return isinstance(section, dict) and bool(section.get("run"))


def plan(config: dict) -> Plan | None:
    """Say who waits for fMRIPrep, or None where the study does not ask for it.

    Parameters
    ----------
    config : dict
        As read from the study's YAML file.

    Raises
    ------
    StudyError
        If the configuration has a fault, the raw dataset, the content of its images or the licence
        is not there, or a path cannot be given to a container.
    """
    if not is_wanted(config):
        return None
    resolved = spec.resolve(config)
    root = Path(resolved["data_root"])
    own = _rooted(resolved["bids"], root, "dataset", "derivatives")
    chosen = _rooted(resolved["fmriprep"], root, "work", "license_file")
    if "image" in chosen and chosen["engine"] == "apptainer":
        chosen = _rooted(chosen, root, "image")
        if not Path(chosen["image"]).is_file():
            raise StudyError(
                f"the container {chosen['image']} (fmriprep.image) does not exist. Paths start "
                "from data_root; without the key, `snakemake fmriprep` fetches it."
            )
    if not Path(chosen["license_file"]).is_file():
        raise StudyError(
            f"the licence of FreeSurfer, {chosen['license_file']} (fmriprep.license_file), does "
            "not exist, and fMRIPrep does not run without one. It is free: register at "
            "surfer.nmr.mgh.harvard.edu, and give the path of the file, from data_root."
        )
    _require_plain(own, chosen)
    people = bids.list_people(own)
    waiting = tuple(label for label in people if not _receipt(own, label).is_file())
    bids.require_content([path for label in waiting for path in people[label]])
    return Plan(resolved["study"], waiting, len(people), own, chosen, _image(chosen))


def output_space(chosen: dict) -> str:
    """Return what `--output-spaces` has to name so that the analysis finds its images.

    Parameters
    ----------
    chosen : dict
        The section `bids`.

    Examples
    --------
    >>> output_space({"space": "MNI152NLin2009cAsym", "resolution": "res-2"})
    'MNI152NLin2009cAsym:res-2'
    >>> output_space({"space": "MNI152NLin6Asym"})
    'MNI152NLin6Asym'
    """
    space = chosen["space"].removeprefix("space-")
    resolution = chosen.get("resolution", bids.NATIVE).removeprefix("res-")
    # without one, images stay on the grid they were scanned on, and their names have no res-
    return space if resolution == bids.NATIVE else f"{space}:res-{resolution}"


def run_command(of_bids: dict, chosen: dict, image: str, label: str) -> list[str]:
    """Return the command that preprocesses one person.

    Parameters
    ----------
    of_bids, chosen : dict
        The sections `bids` and `fmriprep`, with full paths.
    image : str
        File of the container (apptainer).
    label : str
        Of the person, without `sub-`.
    """
    bound = [
        (of_bids["dataset"], DATA, True),
        (of_bids["derivatives"], OUT, False),
        (chosen["work"], WORK, False),
        (chosen["license_file"], LICENSE, True),
    ]
    flag = {"apptainer": "--bind", "docker": "--volume"}[chosen["engine"]]
    binds = [
        part
        for path, inside, read_only in bound
        for part in (flag, f"{path}:{inside}{':ro' * read_only}")
    ]
    if chosen["engine"] == "apptainer":
        engine = ["apptainer", "run", "--cleanenv", *binds, image]
    else:
        # files of root would lie in the derivatives otherwise
        owner = f"{os.getuid()}:{os.getgid()}"
        engine = ["docker", "run", "--rm", "--user", owner, *binds, _reference(chosen)]
    return [
        *engine,
        *(DATA, OUT, "participant", "--participant-label", label),
        *("--task-id", of_bids["task"].removeprefix("task-")),
        *("--output-spaces", output_space(of_bids)),
        *("--nprocs", str(chosen["n_cpus"])),
        *("--omp-nthreads", str(min(chosen["n_cpus"], MOST_THREADS))),
        *("--mem", str(chosen["mem_mb"])),
        # two people's jobs would meet in one folder
        *("--work-dir", f"{WORK}/sub-{label}", "--fs-license-file", LICENSE),
        *("--stop-on-first-crash", "--notrack"),
        *chosen["extra"],
    ]


def pull(chosen: dict, image: str | Path, log: str) -> None:
    """Fetch the container once, before the people's jobs would each do so.

    `chosen` is the section `fmriprep`; `image`, the file to write. Raises as `run`.
    """
    reference = _reference(chosen)
    with replacing(image) as temporary:
        if chosen["engine"] == "apptainer":
            run(["apptainer", "pull", str(temporary), f"docker://{reference}"], log)
        else:
            run(["docker", "pull", reference], log)
            temporary.write_text(f"{reference}\n", encoding="utf-8")


def preprocess(
    command: list[str], folders: list[str], receipt: str | Path, log: str
) -> None:
    """Preprocess a person, and write the command down when all went well.

    fMRIPrep's own pages do not tell: they are written for whom it fails, too, and their names
    depend on the number of sessions.

    Parameters
    ----------
    command : list of str
        As `run_command` gives it.
    folders : list of str
        Made first: a container cannot bind what is not there.
    receipt, log : path
        Files to write. Raises as `run`.
    """
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
    run(command, log)
    write_text(shlex.join(command) + "\n", receipt)


def run(command: list[str], log: str) -> None:
    """Run a command without a shell; what it prints goes to the file `log`.

    Raises
    ------
    StudyError
        If the program is not installed or ends with an error; the message has its last lines.
    """
    with Path(log).open("wb") as file:
        try:
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, check=False
            )
        except FileNotFoundError as error:
            raise StudyError(
                f"the program {command[0]} is not installed (fmriprep.engine): install it, choose "
                "the other of apptainer and docker, or run fMRIPrep elsewhere and give its folder "
                "in bids.derivatives."
            ) from error
    if done.returncode:
        last = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(last[-SHOWN_LINES:])
        raise StudyError(
            f"{command[0]} ended with the error {done.returncode}; its output is in {log}, and "
            f"ends:\n{tail}"
        )


def _receipt(of_bids: dict, label: str) -> Path:
    # beside fMRIPrep's own logs, where derivatives of others have no such file
    return Path(of_bids["derivatives"], "logs", f"handhold_sub-{label}.txt")


def _rooted(section: dict, root: Path, *names: str) -> dict:
    return section | {name: str((root / section[name]).absolute()) for name in names}


def _image(chosen: dict) -> str:
    """Return the file of the container, or the one that stands for it where Docker keeps it."""
    if "image" in chosen and chosen["engine"] == "apptainer":
        return chosen["image"]
    kind = {"apptainer": "sif", "docker": "pulled"}[chosen["engine"]]
    return f"{chosen['work']}/fmriprep-{chosen['version']}.{kind}"


def _reference(chosen: dict) -> str:
    return chosen.get("image", f"nipreps/fmriprep:{chosen['version']}")


def _require_plain(of_bids: dict, chosen: dict) -> None:
    named = {
        "bids.dataset": of_bids["dataset"],
        "bids.derivatives": of_bids["derivatives"],
        "fmriprep.work": chosen["work"],
        "fmriprep.license_file": chosen["license_file"],
    }
    odd = [
        f"{path} ({key})"
        for key, path in named.items()
        if {*SEPARATORS, *FILLED_IN} & set(path)
    ]
    if odd:
        raise StudyError(
            "paths with a colon or comma cannot be bound into a container, nor given to Snakemake "
            f"with braces or angle brackets: {'; '.join(odd)}. "
            "Rename the folder, or give a symbolic link without them."
        )
