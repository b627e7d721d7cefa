"""The one kind of error that a user can act on."""

import sys
import traceback
from pathlib import Path
from types import TracebackType


class StudyError(ValueError):
    """The study as configured cannot be analysed.

    The message says what is wrong, where (subject, file, configuration key), how
    much of it there is, and what to do next; it is shown without a traceback.
    """


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
