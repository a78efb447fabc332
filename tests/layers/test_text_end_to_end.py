"""A classifier of raw text, from sentences to a saved file and back."""

from __future__ import annotations

import numpy as np

from lamina import Sequential, layers, optimizers, utils
from lamina.saving import load_model

GOOD, BAD = ("lovely", "brilliant", "moving", "clever"), ("dull", "clumsy", "boring", "awful")
OTHER = ("film", "plot", "actor", "the", "a", "scene", "music", "was", "and", "quite")
TARGET = 0.97


def sentences(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Sentences with an opinion, and whether it is a good one: "not" before a word turns it round."""
    generator = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        label = int(generator.integers(2))
        negated = generator.random() < 0.3
        opinion = generator.choice(GOOD if label != negated else BAD)
        words = list(generator.choice(OTHER, size=generator.integers(4, 9)))
        words.insert(int(generator.integers(len(words))), f"not {opinion}" if negated else str(opinion))
        texts.append((" ".join(words) + ".").capitalize())
        labels.append(label)
    return texts, np.array(labels)


def test_a_classifier_of_raw_text_learns_and_comes_back_from_its_file(tmp_path):
    utils.set_random_seed(1)
    texts, labels = sentences(1000, seed=0)
    unseen, expected = sentences(300, seed=1)
    vectorize = layers.TextVectorization(ngrams=2, output_mode="multi_hot")
    vectorize.adapt(texts)
    model = Sequential(
        [
            layers.Input((1,), dtype="string"),
            vectorize,
            layers.Dense(16, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    model.fit(np.array(texts), labels, epochs=8, validation_split=0.1, verbose=0)
    accuracy = model.evaluate(np.array(unseen), expected, verbose=0)[1]
    assert accuracy >= TARGET, accuracy

    model.save(tmp_path / "opinions.keras")
    again = load_model(tmp_path / "opinions.keras")
    predictions = model.predict(unseen, verbose=0)
    np.testing.assert_array_equal(again.predict(unseen, verbose=0), predictions)
    both = again.predict(["A brilliant film!", "the plot was NOT brilliant"], verbose=0)[:, 0]
    assert both[0] > 0.5 > both[1]
    again.fit(np.array(texts[:64]), labels[:64], verbose=0)
