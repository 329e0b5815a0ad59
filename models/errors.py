"""The one exception that user input can cause."""


class InputError(ValueError):
    """A file, a name or a value from the user that cannot be used.

    The message is one sentence that a person can act on: the file (or option), the field, what is
    wrong and, where there is one, the allowed range. The command line prints it and exits with 2.
    """
