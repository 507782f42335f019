"""The registry: the versions and the aliases of a registered model."""

import mlflow
from mlflow.exceptions import MlflowException

from wine import UserError


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


def promote(model_id, name, champion):
    """Register a model, make it the champion, and the champion of before the previous one.

    Parameters
    ----------
    model_id : str
        MLflow's ID of the model.
    name : str
        The name of the registered model.
    champion : int or None
        The version that the model was compared with.

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
    MLflow cannot move an alias on a condition. So the champion is looked up directly before the
    move, and once more after it, when a promotion at the same time may have overwritten it.
    """
    client = mlflow.MlflowClient()
    _check_champion(name, champion)
    if champion is not None:
        client.set_registered_model_alias(name, "previous", str(champion))
        _check_champion(name, champion)
    client.set_registered_model_alias(name, "champion", str(version))
    _check_champion(name, version)


def _check_champion(name, version):
    if find_version(name, "champion") != version:
        raise UserError(
            f"name: {name} has got another champion meanwhile; promote again to be compared with it"
        )
