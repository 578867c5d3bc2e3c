"""The one error that users see."""


class UserError(Exception):
    """Something the user can mend: bad input, a wrong setting, a missing file.

    The message is one line that names the file, line, key or value and says what to change.
    The command line prints it without a traceback and exits with code 2.
    """
