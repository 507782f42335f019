"""The registry: one version for a model, and one champion whatever happens at the same time."""

import mlflow
import pytest

from helpers import client_of, tracking_in
from wine import UserError, registry

NAME = "wine-quality"


@pytest.fixture
def model_ids(store, model_uris):
    """Return the ID of each model; MLflow uses the store in which they are."""
    with tracking_in(store):
        yield {name: mlflow.models.get_model_info(uri).model_id for name, uri in model_uris.items()}


@pytest.fixture
def before_alias(monkeypatch):
    """Return a function that lets another one be called just before an alias is set."""

    def arrange(alias, action):
        set_alias = mlflow.MlflowClient.set_registered_model_alias

        def act_and_set(client, name, given, version):
            if given == alias:
                monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", set_alias)
                action()
            set_alias(client, name, given, version)

        monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", act_and_set)

    return arrange


def aliases(store):
    found = client_of(store).get_registered_model(NAME).aliases
    return {alias: int(version) for alias, version in found.items()}


def versions(store):
    found = client_of(store).search_model_versions(f"name = '{NAME}'")
    return sorted(int(version.version) for version in found)


def test_alias_that_is_not_there_has_no_version(model_ids):
    assert registry.find_version(NAME, "champion") is None
    registry.promote(model_ids["main"], NAME, None)
    assert registry.find_version(NAME, "champion") == 1
    assert registry.find_version(NAME, "previous") is None


def test_model_is_registered_once_and_the_champion_of_before_is_the_previous_one(store, model_ids):
    assert registry.promote(model_ids["main"], NAME, None) == 1
    assert registry.promote(model_ids["huber"], NAME, 1) == 2
    assert aliases(store) == {"champion": 2, "previous": 1}
    assert registry.promote(model_ids["main"], NAME, 2) == 1
    assert aliases(store) == {"champion": 1, "previous": 2}
    assert versions(store) == [1, 2]


def test_promotion_against_a_champion_of_before_is_refused_and_leaves_no_version(store, model_ids):
    registry.promote(model_ids["main"], NAME, None)
    registry.promote(model_ids["huber"], NAME, 1)
    with pytest.raises(UserError, match="another champion meanwhile"):
        registry.promote(model_ids["classifier"], NAME, 1)
    assert aliases(store) == {"champion": 2, "previous": 1}
    assert versions(store) == [1, 2]


@pytest.mark.parametrize("alias", ["previous", "champion"])
def test_refused_promotion_keeps_a_version_that_was_there(alias, store, model_ids):
    registry.promote(model_ids["main"], NAME, None)
    registry.promote(model_ids["huber"], NAME, 1)
    with pytest.raises(UserError, match="another champion meanwhile"):
        registry.promote(model_ids["main" if alias == "previous" else "huber"], NAME, None)
    assert aliases(store) == {"champion": 2, "previous": 1}
    assert versions(store) == [1, 2]


def test_champion_set_between_the_check_and_the_move_is_not_overwritten(
    store, model_ids, before_alias
):
    registry.promote(model_ids["main"], NAME, None)
    before_alias("previous", lambda: registry.promote(model_ids["huber"], NAME, 1))
    with pytest.raises(UserError, match="another champion meanwhile"):
        registry.promote(model_ids["classifier"], NAME, 1)
    assert aliases(store)["champion"] != 1
    assert aliases(store)["previous"] == 1
    assert versions(store) == sorted(aliases(store).values())


def test_champion_of_a_promotion_in_between_is_put_back(store, model_ids, before_alias):
    registry.promote(model_ids["main"], NAME, None)
    before_alias("champion", lambda: registry.promote(model_ids["huber"], NAME, 1))
    with pytest.raises(UserError, match="another champion meanwhile"):
        registry.promote(model_ids["classifier"], NAME, 1)
    assert aliases(store) == {"champion": 3, "previous": 1}
    assert versions(store) == [1, 3]  # The classifier had the version 2, the regressor got 3.


def test_promotion_stands_if_the_one_in_between_gives_up(store, model_ids, before_alias):
    registry.promote(model_ids["main"], NAME, None)
    client = client_of(store)

    def begin():
        client.set_registered_model_tag(NAME, registry.TURN, "1 another")
        before_alias("champion", lambda: client.delete_registered_model_tag(NAME, registry.TURN))

    before_alias("champion", begin)
    assert registry.promote(model_ids["huber"], NAME, 1) == 2
    assert aliases(store) == {"champion": 2, "previous": 1}


def test_promotion_stands_if_the_version_of_the_one_in_between_is_gone(
    store, model_ids, before_alias
):
    client = client_of(store)
    before_alias(
        "champion", lambda: client.set_registered_model_tag(NAME, registry.TURN, "7 another")
    )
    assert registry.promote(model_ids["huber"], NAME, None) == 1
    assert aliases(store) == {"champion": 1}


@pytest.mark.parametrize("alias", ["previous", "champion"])
def test_alias_that_two_add_at_once_is_set_again(alias, store, model_ids, before_alias):
    registry.promote(model_ids["main"], NAME, None)

    errors = iter([mlflow.MlflowException("UNIQUE constraint failed")])

    def refuse_once():
        for error in errors:
            raise error

    before_alias(alias, refuse_once)
    assert registry.promote(model_ids["huber"], NAME, 1) == 2
    assert aliases(store) == {"champion": 2, "previous": 1}


def test_champion_that_is_overwritten_at_once_is_told_so(store, model_ids, monkeypatch):
    registry.promote(model_ids["main"], NAME, None)
    client, set_alias = client_of(store), mlflow.MlflowClient.set_registered_model_alias

    def set_and_overwrite(used, name, alias, version):
        set_alias(used, name, alias, version)
        if alias == "champion":
            set_alias(client, name, alias, "1")

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", set_and_overwrite)
    with pytest.raises(UserError, match="another champion meanwhile"):
        registry.promote(model_ids["huber"], NAME, 1)
    assert aliases(store) == {"champion": 1, "previous": 1}
    assert versions(store) == [1]
