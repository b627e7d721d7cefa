"""How a study grows with its people: time, memory and size at 20, 200 and 1,000.

`python tests/bench/scale.py [--source maps bids] [--people 20 200 1000] [--folder FOLDER]
[--plan] [--cores N] [--scheduler NAME] [--imports]` writes simulated studies (kept in FOLDER
and not written again), has Snakemake plan and run each, and prints what grew:

- seconds to open the study (`open_study`), which every Snakemake does, those that an executor
  starts on the nodes of a cluster too; to plan it (`snakemake -n --quiet`, the whole process);
  and to run it;
- jobs, their CPU seconds, and the peak memory of the largest job of every rule;
- the size of the results by folder, and of report.html with the seconds that it took.

Images are 8 mm, runs short: what grows with people is measured, what grows with images is in
fullsize.yaml. --plan stops before anything runs. --imports prints the CPU seconds that each
rule's job takes before its work: the interpreter and the imports at the top of its script.

Each process of a run writes its own time and memory as it ends (`PROBE`), so that nothing is
sampled. Tables go to FOLDER, beside what is printed.
"""

import argparse
import ast
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml

from handhold import simulate, simulate_bids

ROOT = Path(__file__).parents[2]
THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
# Standard deviation over voxels and images of what a map has beside its truth, in percent.
IMAGE_NOISE = 0.3
PROTOCOL = {"n_trials": 4}
CHOICES = {
    "title": "How a study grows",
    "seed": 1,
    "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
    "receptors": {
        "target": "MOR_modelled",
        "panel": ["decoy_front", "decoy_dorsal", "decoy_patches_1"],
        "table": "receptors.tsv",
    },
    "regions": {"min_parcel_voxels": 1},
}
CONDITIONS = ("alone", "partner")
# Heavy libraries, which few jobs should load.
HEAVY = ("nilearn", "sklearn", "matplotlib", "scipy", "pandas", "nibabel")
# Runs at the end of every Python process of a measured run: a sitecustomize module.
PROBE = """\
import atexit, os, time
_START = time.perf_counter()

def _report():
    import re, resource, sys
    found = re.search(r"tmp\\w+\\.(\\w+)\\.py$", sys.argv[0] if sys.argv else "")
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/status") as file:
        peak = re.search(r"VmHWM:\\s+(\\d+)", file.read())[1]
    heavy = [name for name in %r if name in sys.modules]
    name = found[1] if found else "snakemake"
    row = [name, used.ru_utime + used.ru_stime, int(peak) / 1024,
           time.perf_counter() - _START, ",".join(heavy)]
    with open(os.path.join(%r, str(os.getpid())), "a") as file:
        file.write("\\t".join(map(str, row)) + "\\n")

atexit.register(_report)
"""


# --- studies ---------------------------------------------------------------------------------


def write_study(folder: Path, source: str, n_people: int) -> dict:
    """Write a study's data, where it is not there yet, and return its configuration."""
    cohort = simulate.Cohort(
        n_subjects=n_people,
        voxel_size_mm=8,
        protocol=simulate.Protocol(**PROTOCOL),
    )
    data = folder / f"{source}{n_people}"
    described = simulate_bids.describe(cohort, data / "ds")
    ratings = described["ratings"]
    table = "phenotype/unpleasantness.tsv"
    ratings["table"] = f"ds/{table}"
    ratings["wide"] = {name: f"unpleasantness_{name}" for name in CONDITIONS}
    config = {
        **CHOICES,
        "study": f"{source}{n_people}",
        "source": source,
        "data_root": str(data),
        "ratings": ratings,
    }
    config["receptors"] = {
        **CHOICES["receptors"],
        "table": str(data / "receptors.tsv"),
    }
    if source == "bids":
        bids = {"dataset": "ds", "derivatives": f"ds/{simulate_bids.DERIVATIVES}"}
        config["bids"] = {**described["bids"], **bids}
        config["events"] = described["events"]
        # of hundreds of runs as short as these, some have cells that go along with confounds
        config["glm"] = {"min_onset_s": 0, "max_vif": 100}
    else:
        config["unit"] = "% signal change"
        columns = {"subject": "participant_id", "image": "image"}
        columns |= {name: name for name in ("condition", "cue")}
        config["maps"] = {"table": "images.tsv", "columns": columns}
    if not (data / "receptors.tsv").is_file():
        write = simulate_bids.write_dataset if source == "bids" else write_maps
        write(cohort, data / "ds")
        write_receptors(data)
    return config


def write_maps(cohort: simulate.Cohort, folder: Path) -> None:
    """Write an image of each person's effect in each cell, and the table of these."""
    import nibabel as nib

    simulate_bids.write_shared(cohort, folder)
    template = simulate_bids.read_template(folder)
    rows = ["participant_id\tcondition\tcue\timage"]
    (folder / "images").mkdir(exist_ok=True)
    for index, subject in enumerate(simulate.subjects(cohort.n_subjects)):
        rng = np.random.default_rng([cohort.seed, index])
        for cell, effect in simulate.simulate_effects(cohort, index, template).items():
            if cell[0] not in CONDITIONS:
                continue
            volume = np.full(template.mask.shape, np.nan, dtype=np.float32)
            noise = rng.standard_normal(len(effect))
            volume[template.mask] = effect + IMAGE_NOISE * noise
            name = f"images/sub-{subject}_{'_'.join(cell)}.nii"
            nib.Nifti1Image(volume, template.affine).to_filename(folder / name)
            rows.append("\t".join((f"sub-{subject}", *cell, f"ds/{name}")))
    (folder.parent / "images.tsv").write_text("\n".join([*rows, ""]))


def write_receptors(data: Path) -> None:
    """Write the registry of the simulated receptor maps; last, as a sign of completeness."""
    names = list(simulate_bids.RECEPTORS[0])
    rows = [
        [f"ds/{row[name]}" if name == "file" else row[name] for name in names]
        for row in simulate_bids.RECEPTORS
    ]
    lines = ["\t".join(row) for row in [names, *rows]]
    (data / "receptors.tsv").write_text("\n".join([*lines, ""]))


# --- measuring -------------------------------------------------------------------------------


def command(folder: Path, config: dict) -> list[str]:
    """Write a configuration; return the command that runs it."""
    for name in ("atlases", "workflow"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(ROOT / name)
    path = folder / f"{config['study']}.yaml"
    path.write_text(yaml.safe_dump(config))
    line = [sys.executable, "-m", "snakemake", "--configfile", str(path)]
    return [*line, "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]


def run(line: list[str], probes: Path | None = None) -> dict:
    """Run a command; return wall and CPU seconds of it and all its children, and its words."""
    environment = os.environ | THREADS
    if probes:
        (probes / "found").mkdir(parents=True)
        hook = PROBE % (HEAVY, str(probes / "found"))
        (probes / "sitecustomize.py").write_text(hook)
        paths = [str(probes), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "printed": done.stdout + done.stderr}


def open_seconds(folder: Path, config: dict) -> float:
    """Return the CPU seconds of `open_study`, without those of the imports."""
    code = (
        "import sys, time, yaml\nfrom handhold.study import open_study\n"
        "config = yaml.safe_load(open(sys.argv[1]))\nstart = time.process_time()\n"
        "open_study(config)\nprint(time.process_time() - start)"
    )
    path = folder / f"{config['study']}.yaml"
    line = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True)
    return float(done.stdout)


def rules_of(probes: Path) -> dict[str, dict]:
    """Summarise what the processes of a run wrote, by rule."""
    rows = defaultdict(list)
    for path in (probes / "found").iterdir():
        for line in path.read_text().splitlines():
            name, cpu, peak, wall, heavy = line.split("\t")
            rows[name].append((float(cpu), float(peak), float(wall), heavy))
    return {
        name: {
            "jobs": len(own),
            "cpu_s": sum(row[0] for row in own),
            "most_cpu_s": max(row[0] for row in own),
            "peak_mb": max(row[1] for row in own),
            "wall_s": max(row[2] for row in own),
            "loads": own[0][3],
        }
        for name, own in sorted(rows.items())
    }


def sizes(results: Path) -> dict[str, tuple[float, int]]:
    """Return megabytes and number of files by folder of the results."""
    found = defaultdict(lambda: [0, 0])
    for path in results.rglob("*"):
        if path.is_file() and not path.is_symlink():
            part = path.relative_to(results).parts
            own = found[part[0] + ("/" if len(part) > 1 else "")]
            own[0] += path.stat().st_size
            own[1] += 1
    return {name: (size / 1e6, n) for name, (size, n) in sorted(found.items())}


def measure(
    folder: Path, source: str, n_people: int, plan: bool, options: list[str]
) -> dict:
    """Measure one study: opened, planned, and run unless `plan`."""
    config = write_study(folder, source, n_people)
    line = [*command(folder, config), *options]
    found = {"source": source, "people": n_people}
    found["open_cpu_s"] = open_seconds(folder, config)
    planned = run([*line, "--dry-run", "--quiet"])
    found |= {"plan_wall_s": planned["wall"], "plan_cpu_s": planned["cpu"]}
    if plan:
        return found
    with tempfile.TemporaryDirectory() as probes:
        whole = run(line, Path(probes))
        found["rules"] = rules_of(Path(probes))
    found |= {"wall_s": whole["wall"], "cpu_s": whole["cpu"]}
    found["jobs"] = sum(
        row["jobs"] for name, row in found["rules"].items() if name != "snakemake"
    )
    results = folder / "results" / config["study"]
    found["sizes"] = sizes(results)
    found["page_mb"] = (results / "report.html").stat().st_size / 1e6
    found["page_s"] = found["rules"]["write_report"]["wall_s"]
    return found


def show(found: list[dict]) -> None:
    """Print a row per study, then rules by studies."""
    names = ["open_cpu_s", "plan_cpu_s", "plan_wall_s", "jobs", "cpu_s", "wall_s"]
    names += ["page_mb", "page_s"]
    print("\t".join(["source", "people", *names]))
    for study in found:
        values = [f"{study[name]:.1f}" if name in study else "" for name in names]
        print("\t".join([study["source"], str(study["people"]), *values]))
    ran = [study for study in found if "rules" in study]
    for title, part, column in (
        ("peak memory of the largest job, MB", "rules", "peak_mb"),
        ("CPU seconds of the longest job", "rules", "most_cpu_s"),
        ("CPU seconds of all jobs", "rules", "cpu_s"),
        ("size of results, MB", "sizes", 0),
        ("files", "sizes", 1),
    ):
        if ran:
            heads = [f"{study['source']} {study['people']}" for study in ran]
            print("\t".join([f"\n{title}", *heads]))
        rows = dict.fromkeys(name for study in ran for name in study[part])
        for name in sorted(rows):
            cells = [
                f"{study[part][name][column]:.1f}" if name in study[part] else ""
                for study in ran
            ]
            print("\t".join([name, *cells]))


def imports() -> None:
    """Print the CPU seconds and libraries of what stands at the top of each rule's script."""
    print("rule\tCPU s\tloads")
    for script in sorted((ROOT / "workflow" / "scripts").glob("*.py")):
        nodes = ast.parse(script.read_text()).body
        tops = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        code = "\n".join(map(ast.unparse, tops)).replace(
            "from snakemake.script import snakemake", "import snakemake.script"
        )
        code += f"\nimport sys\nprint([n for n in {HEAVY!r} if n in sys.modules])"
        best = [run([sys.executable, "-c", code]) for _ in range(3)]
        least = min(each["cpu"] for each in best)
        print(f"{script.stem}\t{least:.2f}\t{best[0]['printed'].strip()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", nargs="+", default=["maps", "bids"])
    parser.add_argument("--people", nargs="+", type=int, default=[20, 200, 1000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--scheduler", default="ilp")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--imports", action="store_true")
    args = parser.parse_args()
    if args.imports:
        imports()
        raise SystemExit
    folder = (args.folder or Path(tempfile.mkdtemp())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--cores", str(args.cores), "--scheduler", args.scheduler]
    found = []
    for source in args.source:
        for n_people in args.people:
            found.append(measure(folder, source, n_people, args.plan, options))
            print(f"{source} {n_people}: done", file=sys.stderr, flush=True)
            name = f"{source}{n_people}_{'plan' if args.plan else 'run'}.json"
            (folder / name).write_text(json.dumps(found[-1], indent=1))
    show(found)
