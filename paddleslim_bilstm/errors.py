"""The one error that users see."""


class UserError(Exception):
    """Something the user can mend: bad input, a wrong setting, a missing file.

    The message is one line that names the file, line, key or value and says what to change. Whatever line ends and
    control characters it quotes from a hostile file are made harmless.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str):
        super().__init__(_harmless(message))


def _harmless(message: str) -> str:
    r"""Return ``message`` in one line that a terminal shows as it is: ``"two\nlines \x1b" -> "two lines \\x1b"``."""
    line = " ".join(message.splitlines())
    return line if line.isprintable() else "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in line)
