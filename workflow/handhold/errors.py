"""The one kind of error that a user can act on."""


class StudyError(ValueError):
    """The study as configured cannot be analysed.

    The message says what is wrong, where (subject, file, configuration key), how
    much of it there is, and what to do next; it is shown without a traceback.
    """
