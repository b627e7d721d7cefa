"""The same targets under atheris, which follows the branches of handhold's own code.

    pip install atheris                              (wheels for CPython 3.11 to 3.13 on Linux)
    python tests/fuzz/coverage_guided.py image -max_total_time=600

The bytes that atheris changes are what the generators draw from, so that every case keeps the
structure of a table, header or configuration. What follows the target goes to libFuzzer; a fault
ends the run, and leaves its bytes in a file crash-*, which the same command takes to repeat it.
"""

import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))

with atheris.instrument_imports(include=["handhold"]):
    from targets import TARGETS


class Drawn(random.Random):
    """Draws from bytes, and zeros once they are used up."""

    def __new__(cls, content: bytes):
        return super().__new__(cls)

    def __init__(self, content: bytes):
        super().__init__(0)
        self._bytes = atheris.FuzzedDataProvider(content)

    def random(self) -> float:
        """Return a number from 0 to 1, 1 excluded."""
        return self._bytes.ConsumeIntInRange(0, 2**24 - 1) / 2**24

    def getrandbits(self, k: int) -> int:
        """Return k bits, of which there may be many."""
        number = 0
        for start in range(0, k, 32):
            number |= self._bytes.ConsumeUInt(4) << start
        return number & ((1 << k) - 1)

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """Return a number of a range, by one draw."""
        some = range(start) if stop is None else range(start, stop, step)
        return some[self._bytes.ConsumeIntInRange(0, len(some) - 1)]

    def randint(self, a: int, b: int) -> int:
        """Return a number from a to b."""
        return self._bytes.ConsumeIntInRange(a, b)

    def choice(self, seq):
        """Return one of a sequence, by one draw."""
        return seq[self._bytes.ConsumeIntInRange(0, len(seq) - 1)]

    def randbytes(self, n: int) -> bytes:
        """Return n bytes as they come."""
        return self._bytes.ConsumeBytes(n).ljust(n, b"\0")


def main() -> None:
    """Fuzz the target that is named first."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"{__doc__}\nTargets: {', '.join(TARGETS)}")
    target = TARGETS[sys.argv.pop(1)]
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))

    def case(content: bytes) -> None:
        try:
            target(Drawn(content), folder)
        finally:
            shutil.rmtree(folder)
            folder.mkdir()

    # from nothing, libFuzzer would grow cases byte by byte
    corpus = Path(tempfile.mkdtemp(prefix="corpus-"))
    for seed in range(64):
        (corpus / str(seed)).write_bytes(random.Random(seed).randbytes(300))
    limits = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=600", "-len_control=0"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], str(corpus)], case)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
