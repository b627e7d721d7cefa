"""The one kind of error that a user can act on, and how a job ends."""

import errno
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

# What a file system may refuse that a user can mend, in words.
REFUSALS = {
    errno.ENOSPC: "the disk is full. Free some space",
    errno.EDQUOT: "your quota on this disk is used up. Free some space",
    errno.EFBIG: "no file may grow this large here (ulimit -f). Raise the limit",
    errno.EROFS: "this file system is read-only. Mount it for writing, or run elsewhere",
    errno.EACCES: "the permissions forbid it. Change them (chmod, chown), or run elsewhere",
    errno.EPERM: "the permissions forbid it. Change them (chmod, chown), or run elsewhere",
}
# The process of the Snakemake that starts the jobs, in their environment.
RUN = "HANDHOLD_RUN"
# Half a page: a cell that was quoted whole may be a book.
LONGEST_LINE = 4000
# Control characters, what turns the direction of writing, and halves of pairs.
UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class StudyError(ValueError):
    """The study as configured cannot be analysed.

    The message says what is wrong, where (subject, file, configuration key), how
    much of it there is, and what to do next; it is shown without a traceback. It quotes files,
    in which anything may stand: what a terminal would obey is spelt out, and lines are shortened.
    """

    def __init__(self, message: str = ""):
        super().__init__("\n".join(_shown(line) for line in message.split("\n")))


def _shown(line: str) -> str:
    """Spell out control characters and halves of pairs; keep begin and end of a long line."""
    if not line.isprintable():
        line = UNSHOWN.sub(lambda c: ascii(c[0])[1:-1], line)
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} ... ({len(line) - 2 * half} characters) ... {line[-half:]}"


def speak_plainly(log: str) -> None:
    """Show what a user can act on without its traceback, which goes to `log`.

    Also ends this job when the Snakemake that started it is gone: what it would write then could
    fall into a run that was started since, with other choices.
    """

    def hook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ):
        text = "".join(traceback.format_exception(kind, error, trace))
        with suppress(OSError):
            Path(log).write_text(text, encoding="utf-8")
        plain = in_words(error)
        sys.stderr.write(f"\n{plain}\n\n" if plain else text)

    sys.excepthook = hook
    if _orphan_of(os.environ.get(RUN)) is False:
        threading.Thread(target=_end_with_run, daemon=True).start()
    # the log exists even where all went well, since the rule declares it
    Path(log).write_text("", encoding="utf-8")


def in_words(error: BaseException) -> str:
    """Return what a user can act on, in one message; empty for a fault of the program."""
    if isinstance(error, StudyError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped by you"
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return (
            f"{error.filename or 'a file'} cannot be written or read: {REFUSALS[error.errno]}; "
            "then the same command goes on from here. Nothing is half-written."
        )
    return ""


def _end_with_run() -> None:
    while not _orphan_of(os.environ[RUN]):
        time.sleep(1)
    with suppress(OSError):  # a container, say
        mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text("utf-8")
        for child in mine.split():
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGTERM)
    # as by a kill: nothing more is written, and files are replaced whole or not at all
    os._exit(1)


def _orphan_of(run: str | None) -> bool | None:
    """Tell whether a process is no longer above this one; None where that cannot be known."""
    if run is None or not Path("/proc/self/stat").exists():
        return None
    try:
        return int(run) not in _ancestors()
    except OSError:
        return None


def _ancestors() -> Iterator[int]:
    process = os.getpid()
    while process > 1:
        try:
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            return
        # the second field is a name in brackets, which may hold anything; then state, parent
        process = int(stat.rpartition(")")[2].split()[1])
        yield process
