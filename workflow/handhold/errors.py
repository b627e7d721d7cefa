"""The one kind of error that a user can act on."""

import re
import sys
import traceback
from pathlib import Path
from types import TracebackType

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
    """Show the message of a StudyError without its traceback, which goes to `log`."""

    def hook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ):
        text = "".join(traceback.format_exception(kind, error, trace))
        Path(log).write_text(text, encoding="utf-8")
        sys.stderr.write(f"\n{error}\n\n" if isinstance(error, StudyError) else text)

    sys.excepthook = hook
    # the log exists even where all went well, since the rule declares it
    Path(log).write_text("", encoding="utf-8")
