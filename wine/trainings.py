"""The trainings: which scripts train, and what a script has to have to be one of them."""

import importlib
import inspect

from sklearn.model_selection import ParameterSampler

from wine import UserError

# The script of each entry point that trains. A copy that adds a script adds it here.
SCRIPTS = {"main": "train", "huber": "huber-train", "classifier": "clf-train"}
NEEDED = ("SEARCH", "build", "split", "train", "read_params")


def load(entry_point):
    """Import the script of an entry point, and check that it can be used as a training.

    Parameters
    ----------
    entry_point : str
        One of `SCRIPTS`.

    Returns
    -------
    module
        It has `SEARCH` (from which values or distributions each argument of `build` is sampled),
        `build(**arguments)`, `split(table)`, `train(params, split)` and `read_params(argv)`.

    Raises
    ------
    UserError
        If the script is not found, lacks one of these, or if they do not fit together.

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
        raise UserError(
            f"{script}.py: no such script, allowed are those that stand beside MLproject"
        ) from error
    missing = [name for name in NEEDED if not hasattr(module, name)]
    if missing:
        raise UserError(f"{script}.py has no {missing[0]}, needed are {', '.join(NEEDED)}")
    try:
        ParameterSampler(module.SEARCH, 1)
        keys = list(module.SEARCH.keys())
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{script}.py: SEARCH cannot be sampled from ({error}), needed is a dict of lists or "
            "distributions"
        ) from error
    arguments = list(inspect.signature(module.build).parameters)
    params = list(module.read_params([]))
    for names, where, allowed, of in (
        (arguments, "arguments of build", params, "parameters of read_params"),
        (keys, "keys of SEARCH", arguments, "arguments of build"),
    ):
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise UserError(
                f"{script}.py: received {unknown[0]!r} among the {where}, allowed are the {of}: "
                f"{', '.join(allowed)}"
            )
    return module


def defaults(script):
    """Return the defaults of the arguments of a script's `build`.

    Parameters
    ----------
    script : module
        As `load` returns it.

    Returns
    -------
    dict

    Examples
    --------
    >>> defaults(load("main"))
    {'alpha': 1.0, 'l1_ratio': 0.1}
    """
    params = script.read_params([])
    return {name: params[name] for name in inspect.signature(script.build).parameters}
