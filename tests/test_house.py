"""The house rules that no tool checks: pins, paths, and who may import whom."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "workflow/envs/requirements.txt").read_text(encoding="utf-8")
PYTHONS = ["3.11.0", "3.12.0", "3.13.0"]


# --- What is installed -----------------------------------------------------------------


def direct_dependencies():
    project = PROJECT["project"]
    listed = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    for group in project["optional-dependencies"].values():
        listed += group
    requirements = [Requirement(text) for text in listed]
    return [each for each in requirements if each.name != project["name"]]


def lock_entries():
    """Pins with their hashes: one entry over several lines, joined by backslashes."""
    joined = LOCK.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [
        (Requirement(line.split(" --hash")[0]), line.count("--hash=sha256:"))
        for line in lines
    ]


def test_the_lock_names_no_host():
    options = re.findall(r"^\s*(?!--hash=sha256:)-\S+", LOCK, flags=re.MULTILINE)
    assert not options
    assert "://" not in LOCK
    assert " @ " not in LOCK


def test_every_pin_is_exact_and_hashed():
    for pin, n_hashes in lock_entries():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin
        assert n_hashes, pin


@pytest.mark.parametrize("python", PYTHONS)
def test_every_direct_dependency_is_pinned_and_reaches_its_floor(python):
    environment = default_environment() | {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
    }
    pins = {}
    for pin, _ in lock_entries():
        if pin.marker is None or pin.marker.evaluate(environment):
            assert canonicalize_name(pin.name) not in pins, pin
            pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    for dependency in direct_dependencies():
        operators = {part.operator for part in dependency.specifier}
        assert operators & {">=", "=="}, f"{dependency} has no floor"
        pinned = pins[canonicalize_name(dependency.name)]
        assert dependency.specifier.contains(pinned), (dependency, pinned)


def test_what_is_installed_agrees_with_itself():
    # Newer Snakemakes and this nilearn exclude each other, and pip says so only here.
    check = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    found = subprocess.run(check, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]
    dois = {reference["doi"] for reference in citation["references"]}
    coan, kantonen = (
        "10.1111/j.1467-9280.2006.01832.x",
        "10.1016/j.neuroimage.2020.116922",
    )
    assert {coan, kantonen} <= dois


# --- What is committed -----------------------------------------------------------------


def tracked_files():
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def test_no_tracked_file_names_a_place_on_one_machine():
    place = re.compile(r"(?<![\w.}\])*-])/(?:root|home|Users|work|opt)/\w|\b[A-Z]:\\\w")
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):  # an image; a file just deleted
            continue
        found += [f"{path.name}: {match.group()}" for match in place.finditer(text)]
    assert not found


# --- Who may import whom ---------------------------------------------------------------

PACKAGE = ROOT / "workflow" / "handhold"

# From the ground up: a module imports from its own layer and from those before it.
LAYERS = {
    "errors": {"errors"},
    # What the user chose and gave.
    "choices": {"spec", "sources"},
    # Arrays and tables in memory, and an rng: opens no file, draws nothing.
    "numeric": {
        *("permutation", "bayes", "estimate", "correlation"),
        *("variogram", "fields", "surrogates"),
        *("nulls", "correspondence", "specificity", "calibrate", "parcels"),
        *("joint", "partials", "rois", "voxels"),
        *("attenuation", "ratings", "regions", "receptor", "tracking", "verdicts"),
        *("coverage", "collinearity", "glm", "runs", "events", "quality", "families"),
        *("phantom", "simulate", "scanner"),
        *("regression", "reliability", "mixed", "within", "sensitivity"),
        *("replica", "worlds", "rates", "yardsticks"),
    },
    # Files, figures, pages.
    "edge": {
        *("io", "images", "atlases", "simulate_bids", "bids", "study"),
        *("fmriprep", "registries"),
        *("bold", "rundesign", "design", "firstlevel", "trials", "derivatives"),
        *("extract", "provenance", "group", "progress", "written"),
        *("transfer", "fetch", "openneuro", "public", "resources"),
        *("references", "acquisition", "methods", "cobidas", "paper"),
        *("tables", "captions", "report", "drawing", "figures", "figures_quality"),
        *("figures_calibration", "svg", "registration"),
        *("figures_brain", "viewer", "brain"),
    },
}
RANK = {name: rank for rank, names in enumerate(LAYERS.values()) for name in names} | {
    "__init__": 0
}
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}
NUMERIC = [name for name in MODULES if name in LAYERS["numeric"]]

# Seconds of import each, paid by every job; inside a function only its callers pay.
HEAVY = {"nilearn", "sklearn", "matplotlib", "statsmodels"}
# Half a second each: `import scipy` brings these when they are first used.
HEAVY_PARTS = ("scipy.stats", "scipy.optimize", "scipy.ndimage", "scipy.spatial")
# Only jobs that draw import these.
DRAW = {"drawing", "figures", "figures_quality", "figures_calibration"}
DRAW |= {"figures_brain"}
# A numeric module has no use for a file system, a drawing or a workflow.
FOREIGN = {"io", "json", "matplotlib", "nibabel", "nilearn", "os", "pathlib", "shutil"}
FOREIGN |= {"snakemake", "yaml"}
OPENERS = re.compile(
    r"open|read_\w+|write_\w+|load|loadtxt|genfromtxt|fromfile|tofile|memmap|save\w*"
    r"|to_(csv|excel|feather|hdf|html|json|latex|markdown|parquet|pickle|sql|string|xml)"
)


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(nodes):
    """Full names that import statements among `nodes` bring in."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(
                filter(None, ["handhold" * bool(node.level), node.module])
            )
            yield from (f"{module}.{alias.name}" for alias in node.names)


def walk_module_level(node):
    """Walk what runs on import: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from walk_module_level(child)


def siblings(path):
    """Modules of the package that a file imports, anywhere in it."""
    names = [name.split(".") for name in imports(ast.walk(parse(path)))]
    return {parts[1] for parts in names if parts[0] == "handhold" and len(parts) > 1}


def test_every_module_has_a_layer():
    homeless = set(MODULES) - set(RANK)
    assert not homeless, f"add {homeless} to LAYERS, deliberately"


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    upwards = {
        other
        for other in siblings(MODULES[name]) & set(MODULES)
        if RANK[other] > RANK.get(name, 0)
    }
    assert not upwards


def test_imports_make_no_circle():
    edges = {name: siblings(path) & set(MODULES) for name, path in MODULES.items()}
    while edges:
        free = [name for name, others in edges.items() if not others - {name}]
        assert free, f"a circle among {sorted(edges)}"
        edges = {
            name: others - set(free)
            for name, others in edges.items()
            if name not in free
        }


@pytest.mark.parametrize("name", NUMERIC)
def test_a_numeric_module_opens_no_file_and_draws_nothing(name):
    tree = parse(MODULES[name])
    roots = {full.partition(".")[0] for full in imports(ast.walk(tree))}
    assert not roots & FOREIGN
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute | ast.Name)
    }
    assert not [verb for verb in called if OPENERS.fullmatch(verb)]


@pytest.mark.parametrize("name", sorted(set(MODULES) - DRAW))
def test_nothing_heavy_is_imported_at_import_time(name):
    early = list(imports(walk_module_level(parse(MODULES[name]))))
    assert not {full.partition(".")[0] for full in early} & HEAVY
    assert not [full for full in early if full.startswith(HEAVY_PARTS)]


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        ("firstlevel", ("pandas", "scipy.sparse", "scipy.ndimage")),
        ("simulate_bids", ("scipy.sparse", "nibabel")),
    ],
)
def test_the_jobs_that_are_many_load_little(name, spared):
    code = f"import sys, handhold.{name}; print(*{{*{spared}}} & {{*sys.modules}})"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


@pytest.mark.parametrize("name", MODULES)
def test_only_scripts_know_the_workflow(name):
    roots = [full.split(".")[0] for full in imports(ast.walk(parse(MODULES[name])))]
    assert "snakemake" not in roots
    assert "scripts" not in roots
