"""Throw bent inputs at everything that parses, count what became of them, and keep limits.

    python tests/fuzz/run.py                      every target, 100 cases each
    python tests/fuzz/run.py --minutes 30         new cases until the time is up
    python tests/fuzz/run.py --absurd             headers, bombs and tables of sizes that nobody has
    python tests/fuzz/run.py --target image --first 1234 --cases 1      one case again

A case is its target, the seed and its number: the same cases on every machine. Each has 10 s of
CPU, and all of them 2 GB of address space; what needs more is a fault, or dies.
"""

import argparse
import faulthandler
import json
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
# Of CPU: a machine that others use as well makes no parser slow.
LONGEST_S = 10.0
# After which a case is given up, wherever it hangs.
GIVEN_UP_S = 60.0
MOST_BYTES = 2 << 30


def draw(target: str, seed: int, case: int) -> random.Random:
    return random.Random(f"{target} {seed} {case}")


def judge(target: str, rng: random.Random, folder: Path) -> str:
    """Return read or refused; raises what should not be."""
    from absurd import CASES
    from targets import TARGETS

    try:
        if target in CASES:
            CASES[target](folder)
            return "refused"
        return TARGETS[target](rng, folder)
    finally:
        shutil.rmtree(folder)
        folder.mkdir()


def survey(
    targets: list[str], seed: int, first: int, cases: int, minutes: float
) -> dict[str, dict]:
    """Run cases of each target; return counts, the slowest case, and the faults, by target."""
    began, found = time.monotonic(), {}
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    now = folder.with_suffix(".now").open("w+")
    try:
        while True:
            for target in targets:
                row = found.setdefault(
                    target, {"read": 0, "refused": 0, "slowest_s": 0.0, "faults": []}
                )
                for case in range(first, first + cases):
                    now.seek(0)
                    now.write(f"{target} --seed {seed} --first {case}          \n")
                    now.flush()
                    faulthandler.dump_traceback_later(GIVEN_UP_S, exit=True)
                    start = time.process_time()
                    try:
                        row[judge(target, draw(target, seed, case), folder)] += 1
                    except Exception:
                        row["faults"].append((case, traceback.format_exc()))
                    took = time.process_time() - start
                    row["slowest_s"] = max(row["slowest_s"], took)
                    if took > LONGEST_S:
                        row["faults"].append((case, f"it took {took:.0f} s"))
                    faulthandler.cancel_dump_traceback_later()
            first += cases
            if time.monotonic() - began > 60 * minutes:
                return found
    finally:
        shutil.rmtree(folder)
        Path(now.name).unlink()


def show(found: dict[str, dict]) -> None:
    print(
        f"{'target':16}{'cases':>8}{'read':>8}{'refused':>8}{'faults':>8}{'slowest':>10}"
    )
    totals = [0, 0, 0, 0]
    for target, row in found.items():
        counts = [row["read"], row["refused"], len(row["faults"])]
        counts.insert(0, sum(counts))
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        print(
            f"{target:16}"
            + "".join(f"{n:8}" for n in counts)
            + f"{row['slowest_s']:9.2f}s"
        )
    print(f"{'all':16}" + "".join(f"{n:8}" for n in totals))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"peak memory {peak:.0f} MB, {time.process_time():.0f} s of CPU")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--target", action="append", help="all if not given")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=2006)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--absurd", action="store_true", help="sizes that nobody has")
    parser.add_argument("--json", help="write counts and faults here")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    from absurd import CASES
    from targets import TARGETS

    if asked.absurd:
        asked.target, asked.cases = list(CASES), 1
    given = (asked.seed, asked.first, asked.cases, asked.minutes)
    found = survey(asked.target or list(TARGETS), *given)
    for target, row in found.items():
        for case, text in row["faults"][:3]:
            shown = [line for line in text.splitlines() if "^^^" not in line]
            print(f"\n--- {target} --first {case}")
            print("\n".join(line[:200] for line in shown[-9:]))
    show(found)
    if asked.json:
        Path(asked.json).write_text(json.dumps(found), encoding="utf-8")
    sys.exit(any(row["faults"] for row in found.values()))


if __name__ == "__main__":
    main()
