"""The registry: the versions and the aliases of a registered model."""

import contextlib
import uuid

import mlflow
from mlflow.exceptions import MlflowException

from wine import UserError

TURN = "last_promotion"  # tag of a registered model: the version that was about to be its champion


def find_version(name, alias):
    """Return the version of a registered model that has an alias.

    Parameters
    ----------
    name : str
        The name of the registered model.
    alias : str
        For instance champion.

    Returns
    -------
    int or None
        None if there is no such model, or if no version has the alias.
    """
    try:
        return int(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def promote(model_id, name, champion, description=""):
    """Register a model, make it the champion, and the champion of before the previous one.

    Parameters
    ----------
    model_id : str
        MLflow's ID of the model.
    name : str
        The name of the registered model.
    champion : int or None
        The version that the model was compared with.
    description : str, optional
        Markdown that MLflow's UI shows with the version.

    Returns
    -------
    int
        The model's version.

    Raises
    ------
    UserError
        If another version is the champion meanwhile. A version that was registered for nothing is
        deleted then.
    """
    version, is_new = _register(f"models:/{model_id}", name)
    try:
        _move_aliases(name, version, champion)
    except UserError:
        client = mlflow.MlflowClient()
        # The same model may have become the champion by another promotion.
        if is_new and not client.get_model_version(name, str(version)).aliases:
            client.delete_model_version(name, str(version))
        raise
    mlflow.MlflowClient().update_model_version(name, str(version), description)
    return version


def _register(source, name):
    """Return the version of a model, which is registered only once, and whether it is new."""
    client = mlflow.MlflowClient()

    def first_version():
        found = client.search_model_versions(f"name = '{name}'")
        return min((int(each.version) for each in found if each.source == source), default=None)

    version = first_version()
    if version is not None:
        return version, False
    registered = int(mlflow.register_model(source, name).version)
    version = first_version()
    # Where two promotions register the same model at once, both keep the first version.
    if version != registered:
        client.delete_model_version(name, str(registered))
    return version, version == registered


def _move_aliases(name, version, champion):
    """Make a version the champion, and the version that was the champion the previous one.

    Whatever interrupts it, `champion` is one of the two: an alias moves at once, and moves last.
    MLflow cannot move an alias on a condition, so the champion is looked up directly before the
    move. Another promotion may still move the alias between these two calls. Each one therefore
    puts its name into a tag before it looks: who finds another name there after its own move has
    overwritten that promotion's champion, and puts it back. Only an alias that is set by hand
    between the two calls leaves no trace.
    """
    client = mlflow.MlflowClient()
    _check_champion(name, champion)
    if champion is not None:
        _write(client.set_registered_model_alias, name, "previous", str(champion))
        _check_champion(name, champion)
    turn = f"{version} {uuid.uuid4().hex}"
    _write(client.set_registered_model_tag, name, TURN, turn)
    try:
        _check_champion(name, champion)
        _write(client.set_registered_model_alias, name, "champion", str(version))
        _put_back(name, version, turn)
        _check_champion(name, version)
    except (UserError, MlflowException):
        if _find_turn(name) == turn:
            client.delete_registered_model_tag(name, TURN)
        raise


def _write(write, *arguments):
    """Set an alias or a tag; where two promotions add one at once, the database refuses one."""
    try:
        write(*arguments)
    except MlflowException:
        write(*arguments)


def _put_back(name, version, turn):
    """Put back the champion of another promotion that began after ours, if it has not given up."""
    client, other = mlflow.MlflowClient(), _find_turn(name)
    if other in (None, turn):
        return
    with contextlib.suppress(MlflowException):  # Its version is deleted where it has given up.
        client.set_registered_model_alias(name, "champion", other.split()[0])
    if _find_turn(name) != other:
        client.set_registered_model_alias(name, "champion", str(version))


def _find_turn(name):
    return mlflow.MlflowClient().get_registered_model(name).tags.get(TURN)


def _check_champion(name, version):
    if find_version(name, "champion") != version:
        raise UserError(
            f"name: {name} has got another champion meanwhile; promote again to be compared with it"
        )
