"""Models as scikit-learn estimators. Their base classes of scikit-learn join when the first estimator is made."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lamina.core.errors import ArgumentError, MissingPackageError, StateError, check_type
from lamina.models.cloning import clone_model
from lamina.models.model import Model

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator as _Base
else:
    _Base = object


class NotCompiledError(StateError, RuntimeError):
    """A model was handed over that cannot be trained."""


class SKLBase(_Base):
    """Base of the estimators.

    Args:
        model: a compiled model, of which a copy is trained; or a function that is given X, y (as arrays) and
            `model_kwargs`, and returns a compiled model.
        warm_start: whether `fit` goes on with the model as it is: the one given, or that of the `fit` before.
        model_kwargs: further arguments of the function.
        fit_kwargs: arguments of `model.fit`; those given to the estimator's `fit` come before them.

    Attributes:
        model_: the trained model.
        history_: what its `fit` gave.

    Raises:
        MissingPackageError: scikit-learn is not installed.
    """

    _mixin: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        parameters = list(inspect.signature(cls.__init__).parameters.values())
        cls.__signature__ = inspect.Signature(parameters[1:])  # type: ignore[attr-defined]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """An estimator of a class that derives from scikit-learn's too."""
        return object.__new__(_with_sklearn(cls))

    def __init__(
        self,
        model: Any,
        warm_start: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        fit_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self)._written,), self.__getstate__()  # type: ignore[attr-defined]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        return tags

    def __sklearn_clone__(self) -> Self:
        model = self.model if callable(self.model) and not isinstance(self.model, Model) else copy.deepcopy(self.model)
        return type(self)(model, self.warm_start, self.model_kwargs, self.fit_kwargs)

    @property
    def epoch_(self) -> int:
        """The number of epochs that the last `fit` ran."""
        return len(self.history_.epoch) if hasattr(self, "history_") else 0

    def set_fit_request(self, **kwargs: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Say which metadata `fit` wants from the estimators around it.

        Args:
            **kwargs: for each parameter of `fit` True, False, None or the name under which it is handed over.

        Raises:
            StateError: scikit-learn's metadata routing is not enabled.
        """
        import sklearn
        from sklearn.utils.metadata_routing import MetadataRequest

        if not sklearn.get_config().get("enable_metadata_routing", False):
            raise NotCompiledError(
                "Metadata routing is not enabled.",
                where=f"{type(self).__name__}.set_fit_request",
                fix="sklearn.set_config(enable_metadata_routing=True)",
            )
        request = MetadataRequest(owner=type(self).__name__)
        for name, alias in kwargs.items():
            request.fit.add_request(param=name, alias=alias)
        self._metadata_request = request
        return self

    def fit(self, X: Any, y: Any, **kwargs: Any) -> Self:
        """Train the model.

        Args:
            X: samples, (count, features).
            y: targets, (count,) or (count, outputs).
            **kwargs: arguments of `model.fit`.

        Raises:
            NotCompiledError: the model has no loss or no optimizer.
        """
        X, y = _validated(self, X, y)
        y = self._process_target(y, reset=True)
        model = self._model_for(X, y)
        if not model.compiled or not model.loss or not model.optimizer:
            raise NotCompiledError(
                "The model cannot be trained.",
                where=f"{type(self).__name__}.fit",
                fix='call model.compile(optimizer="adam", loss=...) first',
            )
        self.history_ = model.fit(X, y, **{**(self.fit_kwargs or {}), **kwargs})
        self.model_ = model
        return self

    def predict(self, X: Any) -> np.ndarray:
        """What the model says, as targets.

        Args:
            X: samples, (count, features).
        """
        outputs = self._outputs(X)
        return self._target_encoder.inverse_transform(outputs)

    def _outputs(self, X: Any) -> np.ndarray:
        """What the model says."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        verbose = (self.fit_kwargs or {}).get("verbose", "auto")
        return self.model_.predict(_validated(self, X, reset=False), verbose=verbose)

    def _model_for(self, X: np.ndarray, y: np.ndarray) -> Any:
        if self.warm_start and hasattr(self, "model_"):
            return self.model_
        if not isinstance(self.model, Model):
            where = f"{type(self).__name__}(model=...)"
            check_type(self.model, Callable, where, "a compiled model, or a function of X and y that returns one")
            made = self.model(X=X, y=y, **(self.model_kwargs or {}))
            check_type(made, Model, where, "a function that returns a compiled model; does it end with `return`?")
            return made
        return self.model if self.warm_start else clone_model(self.model)

    def _process_target(self, y: np.ndarray, reset: bool = False) -> np.ndarray:
        """The targets as the model is given them."""
        _type_of_target(y)
        if reset:
            self._target_encoder = TargetReshaper().fit(y)
        return self._target_encoder.transform(y)


class SKLearnClassifier(SKLBase):
    """A classifier: the model is given targets as vectors of zeros and a one.

    Args:
        model: a compiled model, of which a copy is trained; or a function that is given X, y (as arrays) and
            `model_kwargs`, and returns a compiled model.
        warm_start: whether `fit` goes on with the model as it is: the one given, or that of the `fit` before.
        model_kwargs: further arguments of the function.
        fit_kwargs: arguments of `model.fit`; those given to the estimator's `fit` come before them.

    Attributes:
        model_: the trained model.
        history_: what its `fit` gave.
        classes_: the classes met in `fit`.

    Raises:
        MissingPackageError: scikit-learn is not installed.

    Example:
        >>> from lamina import layers
        >>> from lamina.models import Sequential
        >>> def build(X, y, width=4):
        ...     out = layers.Dense(y.shape[1], activation="softmax")
        ...     model = Sequential([layers.Input((X.shape[1],)), layers.Dense(width), out])
        ...     model.compile("adam", loss="categorical_crossentropy")
        ...     return model
        >>> X, y = np.array([[0.0], [1.0]] * 8), np.array(["no", "yes"] * 8)
        >>> estimator = SKLearnClassifier(build, fit_kwargs={"verbose": 0}).fit(X, y)
        >>> estimator.classes_.tolist(), estimator.predict(X).shape
        (['no', 'yes'], (16,))

    Source: https://keras.io/api/wrappers/
    """

    _mixin = "ClassifierMixin"

    def decision_function(self, X: Any) -> np.ndarray:
        """What the model says for each class.

        Args:
            X: samples, (count, features).
        """
        return self._outputs(X)

    def _process_target(self, y: np.ndarray, reset: bool = False) -> np.ndarray:
        """The targets as vectors of zeros and a one."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder

        kind = _type_of_target(y)
        if kind not in ("binary", "multiclass"):
            raise ArgumentError(
                f"Only binary and multiclass targets can be learnt. Unknown label type: {kind}.",
                where=f"{type(self).__name__}.fit(y)",
                fix="give one class for each sample, or use SKLearnRegressor",
            )
        if reset:
            self._target_encoder = make_pipeline(TargetReshaper(), OneHotEncoder(sparse_output=False)).fit(y)
            self.classes_ = np.unique(y)
            if len(self.classes_) == 1:
                where, expected = f"{type(self).__name__}.fit(y)", "at least two classes"
                what = "Classifier can't train when only one class is present."
                raise ArgumentError(what, where=where, expected=expected, received=self.classes_)
        return self._target_encoder.transform(y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class SKLearnRegressor(SKLBase):
    """A regressor: what the model says is the prediction.

    Args:
        model: a compiled model, of which a copy is trained; or a function that is given X, y (as arrays) and
            `model_kwargs`, and returns a compiled model.
        warm_start: whether `fit` goes on with the model as it is: the one given, or that of the `fit` before.
        model_kwargs: further arguments of the function.
        fit_kwargs: arguments of `model.fit`; those given to the estimator's `fit` come before them.

    Attributes:
        model_: the trained model.
        history_: what its `fit` gave.

    Raises:
        MissingPackageError: scikit-learn is not installed.

    Example:
        >>> from lamina import layers
        >>> from lamina.models import Sequential
        >>> model = Sequential([layers.Input((1,)), layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> estimator = SKLearnRegressor(model, fit_kwargs={"verbose": 0, "epochs": 2})
        >>> estimator.fit(np.array([[0.0], [1.0]]), np.array([1.0, 2.0])).epoch_
        2

    Source: https://keras.io/api/wrappers/
    """

    _mixin = "RegressorMixin"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class SKLearnTransformer(SKLBase):
    """A step of a pipeline: what the model says are the new features.

    Args:
        model: a compiled model, of which a copy is trained; or a function that is given X, y (as arrays) and
            `model_kwargs`, and returns a compiled model.
        warm_start: whether `fit` goes on with the model as it is: the one given, or that of the `fit` before.
        model_kwargs: further arguments of the function.
        fit_kwargs: arguments of `model.fit`; those given to the estimator's `fit` come before them.

    Attributes:
        model_: the trained model.
        history_: what its `fit` gave.

    Raises:
        MissingPackageError: scikit-learn is not installed.

    Example:
        >>> from lamina import layers
        >>> from lamina.models import Sequential
        >>> model = Sequential([layers.Input((1,)), layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> step = SKLearnTransformer(model, fit_kwargs={"verbose": 0})
        >>> step.fit(np.array([[0.0], [1.0]]), np.array([1.0, 2.0])).transform(np.array([[2.0]])).shape
        (1, 1)

    Source: https://keras.io/api/wrappers/
    """

    _mixin = "TransformerMixin"

    def transform(self, X: Any) -> np.ndarray:
        """What the model says.

        Args:
            X: samples, (count, features).
        """
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class TargetReshaper(_Base):
    """Makes targets of one axis a column, and back."""

    def __new__(cls) -> Self:
        """A step of a class that derives from scikit-learn's too."""
        return object.__new__(_with_sklearn(cls))

    _mixin = "TransformerMixin"
    __reduce__ = SKLBase.__reduce__

    def fit(self, y: np.ndarray) -> Self:
        """Remember how many axes there are."""
        self.ndim_ = y.ndim
        return self

    def transform(self, y: np.ndarray) -> np.ndarray:
        """The targets with two axes at least."""
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def inverse_transform(self, y: np.ndarray) -> np.ndarray:
        """The targets with as many axes as in `fit`."""
        return np.squeeze(y, axis=1) if self.ndim_ == 1 and y.ndim == 2 else y


@functools.cache
def _with_sklearn(cls: type) -> Any:
    """The same class with scikit-learn's bases below it."""
    if "_written" in cls.__dict__:
        return cls
    try:
        from sklearn import base
    except ImportError as error:
        what, fix = f"{cls.__name__} needs scikit-learn.", "pip install 'lamina[sklearn]'"
        raise MissingPackageError(what, where=cls.__name__, fix=fix) from error
    # scikit-learn wraps `transform` in the class that holds it, for its set_output.
    held = {name: getattr(cls, name) for name in ("transform",) if hasattr(cls, name)}
    known = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__, "_written": cls}
    mixins = (getattr(base, cls._mixin),) if cls._mixin else ()  # type: ignore[attr-defined]
    return type(cls.__name__, (cls, *mixins, base.BaseEstimator), {**known, **held})


def _rebuild(cls: Any) -> Any:
    return object.__new__(_with_sklearn(cls))


def _validated(estimator: Any, *args: Any, **kwargs: Any) -> Any:
    """The arrays, checked as scikit-learn checks them."""
    from sklearn.utils.validation import validate_data

    return validate_data(estimator, *args, **kwargs)


def _type_of_target(y: Any) -> str:
    """scikit-learn's name for the kind of the targets."""
    from sklearn.utils.multiclass import type_of_target

    kind = type_of_target(y, input_name="y")
    if kind == "unknown":
        expected = "one class or number for each sample"
        raise ArgumentError("Unknown label type.", where="fit(y)", expected=expected, received=repr(y)[:120])
    return kind
