"""The estimators pass scikit-learn's own checks, and behave as Keras's."""

from __future__ import annotations

import pickle
import unittest
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lamina
from lamina import layers
from lamina.wrappers import SKLearnClassifier, SKLearnRegressor, SKLearnTransformer


def build(X: Any, y: Any, loss: str, activation: str | None = "softmax", widths: tuple[int, ...] = (10,)) -> Any:
    inputs = x = layers.Input((X.shape[1],))
    for width in widths:
        x = layers.Dense(width, activation="relu")(x)
    outputs = layers.Dense(y.shape[1] if y.ndim > 1 else 1, activation=activation)(x)
    model = lamina.Model(inputs, outputs)
    model.compile(loss=loss, optimizer="rmsprop", jit_compile=False)
    return model


UNSUITED = {
    "check_classifiers_classes": "a model that was hardly trained need not name every class",
    "check_classifier_data_not_an_array": "two trainings give the same only with a seed",
    "check_supervised_y_2d": "two trainings give the same only with a seed",
    "check_fit_idempotent": "two trainings give the same only with a seed",
    "check_classifiers_train": "decision_function may give probabilities or logits",
}
QUIET = {"verbose": 0}


class Builder:
    """`build`, named in the same way in each process, because names of tests are made of it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return build(*args, **kwargs)

    def __repr__(self) -> str:
        return "build"


BUILDER = Builder()
ESTIMATORS = [
    SKLearnClassifier(
        BUILDER, model_kwargs={"loss": "categorical_crossentropy", "widths": (20, 20, 20)}, fit_kwargs=QUIET
    ),
    SKLearnRegressor(BUILDER, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET),
    SKLearnTransformer(BUILDER, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET),
]


@parametrize_with_checks(
    ESTIMATORS,
    expected_failed_checks=lambda estimator: UNSUITED if isinstance(estimator, SKLearnClassifier) else {},
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    try:
        check(estimator)
    except unittest.SkipTest as skipped:
        pytest.skip(str(skipped))
    except Exception:
        if check.func.__name__ in UNSUITED and isinstance(estimator, SKLearnClassifier):
            pytest.xfail(UNSUITED[check.func.__name__])
        raise


def data() -> Any:
    return make_classification(n_samples=12, n_features=5, n_informative=4, n_redundant=0, random_state=1)


@pytest.mark.filterwarnings("ignore:binary_crossentropy expects")
@pytest.mark.parametrize("activation", ["softmax", "linear"])
def test_decision_function_agrees_with_predict(activation: str) -> None:
    X, y = data()
    kwargs = {"loss": "binary_crossentropy", "activation": activation}
    estimator = SKLearnClassifier(build, model_kwargs=kwargs).fit(X, y, verbose=0)
    assert (estimator.decision_function(X).argmax(-1) == estimator.predict(X)).all()


def test_estimators_are_scikit_learns() -> None:
    estimator = SKLearnClassifier(build, model_kwargs={"loss": "mse"})
    assert isinstance(estimator, (BaseEstimator, ClassifierMixin))
    assert is_classifier(estimator)
    assert type(estimator).__name__ == "SKLearnClassifier"
    assert clone(estimator).get_params() == estimator.get_params()


def test_a_compiled_model_is_copied_and_warm_start_goes_on_with_it() -> None:
    X, y = data()
    model = build(X, y[:, None], "mse", None)
    before = model.get_weights()
    cold = SKLearnRegressor(model).fit(X, y, verbose=0, epochs=2)
    assert cold.epoch_ == 2
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    warm = SKLearnRegressor(model, warm_start=True).fit(X, y, verbose=0)
    assert warm.model_ is model
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    assert warm.fit(X, y, verbose=0).model_ is model


def test_arguments_of_fit_come_before_those_of_the_constructor_and_change_none() -> None:
    X, y = data()
    settings = {"verbose": 0, "epochs": 3}
    estimator = SKLearnRegressor(build, model_kwargs={"loss": "mse", "activation": None}, fit_kwargs=settings)
    assert estimator.fit(X, y, epochs=1).epoch_ == 1
    assert settings == {"verbose": 0, "epochs": 3}


def test_pickling_and_pipelines() -> None:
    X, y = data()
    estimator = SKLearnClassifier(build, model_kwargs={"loss": "categorical_crossentropy"}, fit_kwargs=QUIET)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(X, y)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict(X), pipeline.predict(X))


def test_a_transformer_gives_frames_where_they_are_wanted() -> None:
    X, y = data()
    step = SKLearnTransformer(build, model_kwargs={"loss": "mse"}, fit_kwargs=QUIET).fit(X, y)
    assert step.transform(X).shape == (12, 1)


def test_errors() -> None:
    X, y = data()
    with pytest.raises(RuntimeError, match="cannot be trained"):
        SKLearnRegressor(lamina.Sequential([layers.Dense(1)])).fit(X, y)
    with pytest.raises(ValueError, match="only one class"):
        SKLearnClassifier(build, model_kwargs={"loss": "mse"}).fit(X, np.ones(12, int))
    with pytest.raises(RuntimeError, match="routing"):
        SKLearnRegressor(build).set_fit_request(epochs=True)
    with sklearn.config_context(enable_metadata_routing=True):
        assert SKLearnRegressor(build).set_fit_request(epochs=True)._metadata_request.fit.requests == {"epochs": True}
