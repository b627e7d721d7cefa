"""Fixtures that every test may use."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import browser
import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).parents[1]
# One BLAS thread, as a job has: workers would fight over the cores, and take a third longer.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
threadpool_limits(1)
# Scripts: how reference numbers were made, how fast things are, and what bent inputs do.
collect_ignore = ["reference", "bench", "fuzz"]


@pytest.fixture
def rng():
    return np.random.default_rng(20061201)


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real data, none of which may be committed; absent on most machines."""
    folder = os.environ.get("HANDHOLD_SHARED_DATA") or ROOT.parent / "shared" / "data"
    folder = Path(folder).resolve()
    if not (folder / "pet").is_dir():
        pytest.skip(f"no real data at {folder}: set HANDHOLD_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def bids_errors():
    """Where a BIDS dataset has errors, by the validator that the extra test installs."""
    # beside Python, whose folder is not on the path of those who have not activated it
    validator = shutil.which(
        "bids-validator-deno", path=str(Path(sys.executable).parent)
    )

    def errors(folder):
        command = [validator, str(folder), "--format", "json"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        issues = json.loads(found.stdout)["issues"]["issues"]
        return {each["location"] for each in issues if each["severity"] == "error"}

    return errors


@pytest.fixture(scope="session")
def launch():
    """Start Debian's Chromium with flags; one playwright, since a process can have no second."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(
            executable_path=path, args=[*browser.FLAGS, *flags]
        )


@pytest.fixture(scope="session")
def chromium(launch):
    """Chromium as most tests need it, without WebGL."""
    launched = launch("--disable-gpu")
    yield launched
    launched.close()


def pytest_configure():
    """Let Ctrl-C reach what tests start: a shell has what it runs in the background ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Begin with the files that run whole studies: started last, they would run alone."""
    first = ("test_slurm", "test_faults_study", "test_study", "test_real")
    items.sort(key=lambda item: [item.path.stem != stem for stem in first])
