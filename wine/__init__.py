"""What the training scripts share."""


class Refusal(ValueError):
    """Input that cannot be worked with; its one line says what is wrong, received and allowed."""
