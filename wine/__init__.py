"""What the scripts share."""


class UserError(Exception):
    """An error that is shown to the user as one line, without a traceback."""
