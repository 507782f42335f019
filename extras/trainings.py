"""The trainings: which scripts train, and what a script has to have to be one of them."""

import importlib
import inspect

from sklearn.model_selection import ParameterSampler

from wine import UserError

# The script of each entry point that trains. A copy that adds a script adds it here.
SCRIPTS = {"main": "train", "huber": "huber-train", "classifier": "clf-train"}
SCRIPTS |= {"boosting": "extras.boosting"}  # trained by python -m
NEEDED = ("SEARCH", "build", "load_split", "train", "read_params")


def load(entry_point):
    """Import the script of an entry point, and raise `UserError` if its parts do not fit together.

    Examples
    --------
    >>> sorted(load("huber").SEARCH)
    ['alpha', 'epsilon']
    """
    script = SCRIPTS[entry_point]
    try:
        module = importlib.import_module(script)
    except ModuleNotFoundError as error:
        if error.name != script:
            raise
        raise UserError(f"{script}.py: no such script stands beside MLproject") from error
    if missing := [name for name in NEEDED if not hasattr(module, name)]:
        raise UserError(f"{script}.py has no {missing[0]}, needed are {', '.join(NEEDED)}")
    try:  # A distribution such as loguniform(0, 10) fails only when it is drawn from.
        list(ParameterSampler(module.SEARCH, 1, random_state=42))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{script}.py: SEARCH cannot be sampled from ({str(error).partition('. ')[0]}), "
            "needed is a dict of lists or distributions"
        ) from error
    build, params = list(inspect.signature(module.build).parameters), list(module.read_params([]))
    for names, where, allowed, of in (
        (build, "arguments of build", params, "parameters of read_params"),
        (module.SEARCH, "keys of SEARCH", build, "arguments of build"),
    ):
        if unknown := [name for name in names if name not in allowed]:
            raise UserError(
                f"{script}.py: received {unknown[0]!r} among the {where}, allowed are the {of}: "
                f"{', '.join(allowed)}"
            )
    return module


def defaults(script):
    """Return the defaults of the arguments of a script's `build`.

    Examples
    --------
    >>> defaults(load("main"))
    {'alpha': 1.0, 'l1_ratio': 0.1}
    """
    params = script.read_params([])
    return {name: params[name] for name in inspect.signature(script.build).parameters}
