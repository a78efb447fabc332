"""Distillation gives what Keras's gives, and trains the student alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

import lamina
from lamina import distillation, layers


def pair(module: Any) -> Any:
    """A teacher and a student with known weights."""
    made = []
    for width in (6, 3):
        inner = module.layers.Dense(width, activation="relu", name=f"inner_{width}")
        model = module.Sequential([module.layers.Input((4,)), inner, module.layers.Dense(3, name=f"last_{width}")])
        random = np.random.default_rng(width)
        model.set_weights([random.normal(size=w.shape).astype("float32") for w in model.weights])
        made.append(model)
    return made


RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(8, 4)).astype("float32"), RANDOM.normal(size=(8, 3)).astype("float32")
A, B = RANDOM.uniform(0.1, 2, (2, 8, 3)).astype("float32")
LOSSES = {
    "logits": lambda module: module.distillation.LogitsDistillation(2.0),
    "divergence": lambda module: module.distillation.LogitsDistillation(2.0, module.losses.KLDivergence()),
    "other": lambda module: module.distillation.LogitsDistillation(4, "mse"),
    "features": lambda module: module.distillation.FeatureDistillation("mae"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_configs_are_those_of_keras(name: str) -> None:
    ours, theirs = LOSSES[name](lamina), LOSSES[name](keras)
    expected = float(theirs.compute_loss(torch.tensor(A), torch.tensor(B)))
    assert float(ours.compute_loss(torch.tensor(A), torch.tensor(B))) == pytest.approx(expected, rel=1e-5)
    config = lamina.saving.serialize_keras_object(ours)
    assert config["module"] == "keras.distillation"
    again = lamina.saving.deserialize_keras_object(config)
    assert float(again.compute_loss(torch.tensor(A), torch.tensor(B))) == pytest.approx(expected, rel=1e-5)
    read = lamina.saving.deserialize_keras_object(keras.saving.serialize_keras_object(theirs))
    assert float(read.compute_loss(torch.tensor(A), torch.tensor(B))) == pytest.approx(expected, rel=1e-5)


def test_losses_of_structures() -> None:
    for module in (keras, lamina):
        loss = module.distillation.FeatureDistillation(["mse", None])
        tensors = [torch.tensor(A), torch.tensor(B)], [torch.tensor(B), torch.tensor(A)]
        assert float(loss.compute_loss(*tensors)) == pytest.approx(((A - B) ** 2).mean(), rel=1e-5)
    with pytest.raises(ValueError, match="structures differ"):
        loss.validate_outputs(torch.tensor(A), torch.tensor(B))


def distiller(module: Any, **kwargs: Any) -> Any:
    teacher, student = pair(module)
    feature = module.distillation.FeatureDistillation("mse", "last_6", "last_3")
    chosen = [module.distillation.LogitsDistillation(2.0, module.losses.KLDivergence()), feature]
    made = module.distillation.Distiller(teacher, student, chosen, distillation_loss_weights=[0.5, 2.0], **kwargs)
    made.compile(module.optimizers.SGD(0.01), loss="mse", metrics=["mae"])
    return made


def test_training_is_that_of_keras() -> None:
    ours, theirs = distiller(lamina, student_loss_weight=0.3), distiller(keras, student_loss_weight=0.3)
    mine = ours.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0).history
    other = theirs.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0).history
    assert mine.keys() == other.keys()
    for key, values in other.items():
        np.testing.assert_allclose(mine[key], values, rtol=1e-4, err_msg=key)
    for a, b in zip(ours.student.get_weights(), theirs.student.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    results = ours.evaluate(X, Y, verbose=0, return_dict=True)
    for key, value in theirs.evaluate(X, Y, verbose=0, return_dict=True).items():
        assert results[key] == pytest.approx(value, rel=1e-4), key


def test_the_teacher_stays_and_the_student_predicts() -> None:
    made = distiller(lamina)
    before = made.teacher.get_weights()
    made.fit(X, Y, verbose=0)
    for a, b in zip(before, made.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not made.teacher.trainable
    assert len(made.trainable_variables) == 4
    np.testing.assert_allclose(made.predict(X, verbose=0), made.student.predict(X, verbose=0), rtol=1e-5)


def test_models_of_a_program_s_own_and_shares_at_the_ends() -> None:
    class Own(lamina.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    for share in (0.0, 1.0):
        made = distillation.Distiller(
            Own(), Own(), distillation.LogitsDistillation(loss="mse"), student_loss_weight=share
        )
        made.compile("sgd", loss="mse")
        history = made.fit(X, Y, verbose=0).history
        assert (history["student_loss"][0] == 0) == (share == 0)
        assert (history["distillation_loss"][0] == 0) == (share == 1)
    with pytest.raises(ValueError, match="is a graph"):
        distillation.Distiller(Own(), Own(), distillation.FeatureDistillation("mse", "dense", "dense"))


def test_a_distiller_is_saved_with_all_it_has(tmp_path: Any) -> None:
    made = distiller(lamina)
    made.fit(X, Y, verbose=0)
    made.save(tmp_path / "distiller.keras")
    again = lamina.saving.load_model(tmp_path / "distiller.keras")
    np.testing.assert_allclose(again.predict(X, verbose=0), made.predict(X, verbose=0), rtol=1e-5)
    assert again.distillation_loss_weights == [0.5, 2.0]
    assert again.evaluate(X, Y, verbose=0) == pytest.approx(made.evaluate(X, Y, verbose=0), rel=1e-5)


def test_errors() -> None:
    teacher, student = pair(lamina)
    loss = distillation.LogitsDistillation()
    wrong = lamina.Sequential([layers.Input((5,)), layers.Dense(3)])
    for arguments, words in (
        ((1, student, loss), "teacher is no model"),
        ((teacher, wrong, loss), "differ"),
        ((teacher, student, None), "is needed"),
        ((teacher, student, [loss], [1.0, 2.0]), "one weight"),
        ((teacher, student, loss, None, 1.5), "share"),
        ((teacher, student, distillation.FeatureDistillation("mse", "no", "last_3")), "no layer"),
    ):
        with pytest.raises(ValueError, match=words):
            distillation.Distiller(*arguments)  # type: ignore[arg-type]
    made = distillation.Distiller(teacher, student, loss)
    with pytest.raises(ValueError, match="loss on the targets"):
        made.compile("sgd")
    with pytest.raises(ValueError, match="in a list"):
        made.compile("sgd", loss="mse", metrics="mae")
    for bad in ({"temperature": 0}, {"temperature": "hot"}, {"loss": None}, {"loss": [None, None]}):
        with pytest.raises(ValueError):
            distillation.LogitsDistillation(**bad)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        distillation.DistillationLoss().compute_loss(1, 2)
