"""The trainings: which scripts train, and what a script has to have to be one of them."""

import importlib.util
import inspect

from sklearn.model_selection import ParameterSampler

from wine import UserError

# The script of each entry point that trains. A copy that adds a script adds it here.
SCRIPTS = {
    "main": "train",
    "huber": "huber-train",
    "classifier": "clf-train",
    "boosting": "extras.boosting",
}
NEEDED = ("SEARCH", "build", "load_split", "train", "read_params")


def load(entry_point):
    """Import the script of an entry point, and raise `UserError` if its parts do not fit together.

    Examples
    --------
    >>> sorted(load("huber").SEARCH)
    ['alpha', 'epsilon']
    """
    script = SCRIPTS[entry_point]
    path = f"{script.replace('.', '/')}.py"
    if importlib.util.find_spec(script) is None:
        raise UserError(f"{path}: no such script stands beside MLproject")
    module = importlib.import_module(script)
    try:  # A distribution such as loguniform(0, 10) fails only when it is drawn from.
        search, build, *_ = [getattr(module, name) for name in NEEDED]
        (drawn,) = ParameterSampler(search, 1, random_state=42)
        build(**(defaults(module) | drawn))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".partition(". ")[0]
        needed = f"needed are {', '.join(NEEDED)}, and a draw from SEARCH as arguments of build"
        raise UserError(f"{path} cannot be searched ({reason}), {needed}") from error
    return module


def defaults(script):
    """Return the defaults of the arguments of a script's `build`."""
    params = script.read_params([])
    return {name: params[name] for name in inspect.signature(script.build).parameters}
