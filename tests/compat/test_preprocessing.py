"""Tokenizer, sequences and ImageDataGenerator: the same as the helpers of earlier Keras versions give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras.src.legacy.preprocessing import image as old_image
from keras.src.legacy.preprocessing import sequence as old_sequence
from keras.src.legacy.preprocessing import text as old_text

from lamina import utils
from lamina.compat import sequences, text
from lamina.compat.images import ImageDataGenerator
from lamina.core.errors import ArgumentError, DataError, StateError

TEXTS = ["The cat sat, the cat ran!", "A dog; the dog sat.", "", "Bird & cat\tand dog"]
MODES = ["binary", "count", "freq", "tfidf"]


@pytest.mark.parametrize("options", [{}, {"num_words": 4}, {"oov_token": "?"}, {"num_words": 4, "oov_token": "?"}])
@pytest.mark.parametrize("more", [{}, {"char_level": True}, {"lower": False, "filters": ",."}])
def test_tokenizer_matches(options, more):
    ours, theirs = text.Tokenizer(**options, **more), old_text.Tokenizer(**options, **more)
    for tokenizer in (ours, theirs):
        tokenizer.fit_on_texts(TEXTS)
        tokenizer.fit_on_texts([["The", "cat"]])
    assert ours.word_index == theirs.word_index and ours.document_count == theirs.document_count
    seen = [*TEXTS, "unheard words", ["cat", "fish"]]
    numbers = ours.texts_to_sequences(seen)
    assert numbers == theirs.texts_to_sequences(seen)
    assert ours.sequences_to_texts([*numbers, [99, 1]]) == theirs.sequences_to_texts([*numbers, [99, 1]])
    for mode in MODES:
        np.testing.assert_allclose(ours.texts_to_matrix(seen, mode), theirs.texts_to_matrix(seen, mode))
    again = text.tokenizer_from_json(theirs.to_json())
    assert again.texts_to_sequences(seen) == numbers
    assert old_text.tokenizer_from_json(ours.to_json()).texts_to_sequences(seen) == numbers


def test_tokenizer_says_what_is_missing():
    with pytest.raises(StateError, match="num_words"):
        text.Tokenizer().sequences_to_matrix([[1]])
    with pytest.raises(StateError, match="fit_on_texts"):
        text.Tokenizer(5).sequences_to_matrix([[1]], "tfidf")
    with pytest.raises(ArgumentError, match="mode"):
        text.Tokenizer(5).sequences_to_matrix([[1]], "tf")


@given(st.text(max_size=40))
def test_words_of_any_text_match(string):
    assert text.text_to_word_sequence(string) == old_text.text_to_word_sequence(string)
    assert text.hashing_trick(string, 50, "md5") == old_text.hashing_trick(string, 50, "md5")


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bounds", [{}, {"start_index": 3, "end_index": 17}])
def test_timeseries_generator_matches(stride, rate, reverse, bounds):
    data, targets = np.random.normal(size=(25, 2)), np.arange(25)
    options = {"length": 6, "stride": stride, "sampling_rate": rate, "reverse": reverse, "batch_size": 4, **bounds}
    ours = sequences.TimeseriesGenerator(data, targets, **options)
    theirs = old_sequence.TimeseriesGenerator(data, targets, **options)
    assert len(ours) == len(theirs)
    for i in range(len(ours)):
        for a, b in zip(ours[i], theirs[i], strict=True):
            np.testing.assert_array_equal(a, b)


def test_timeseries_generator_says_what_does_not_fit():
    with pytest.raises(ArgumentError, match="length at most"):
        sequences.TimeseriesGenerator(np.arange(5), np.arange(5), length=6)
    with pytest.raises(ArgumentError, match="differ"):
        sequences.TimeseriesGenerator(np.arange(5), np.arange(4), length=2)


def test_sampling_table_and_skipgrams():
    np.testing.assert_allclose(sequences.make_sampling_table(40), old_sequence.make_sampling_table(40), rtol=1e-3)
    words = [1, 2, 0, 3, 4]
    options = {"vocabulary_size": 5, "window_size": 2, "negative_samples": 0, "shuffle": False}
    assert sequences.skipgrams(words, **options) == tuple(old_sequence.skipgrams(words, **options))
    pairs, labels = sequences.skipgrams(words, 5, window_size=2, categorical=True, seed=1)
    assert len(pairs) == len(labels) and labels.count([0, 1]) == labels.count([1, 0]) > 0
    assert (pairs, labels) == sequences.skipgrams(words, 5, window_size=2, categorical=True, seed=1)


@pytest.mark.parametrize("mode", ["nearest", "constant", "reflect"])
@pytest.mark.parametrize(
    "change",
    [
        {"theta": 25.0},
        {"tx": 1.5, "ty": -2.0},
        {"theta": -40.0, "tx": 2.0, "shear": 15.0},
        {"zx": 0.7, "zy": 1.3},
        {"flip_horizontal": True, "flip_vertical": True},
        {"channel_shift_intensity": 30.0},
        {"theta": 10.0, "zx": 1.2, "zy": 1.2, "shear": 5.0, "ty": 1.0, "flip_horizontal": True},
    ],
)
def test_image_changes_match(mode, change):
    image = np.random.uniform(0, 255, (15, 15, 3)).astype("float32")
    ours = ImageDataGenerator(fill_mode=mode, cval=7.0).apply_transform(image, change)
    theirs = old_image.ImageDataGenerator(fill_mode=mode, cval=7.0).apply_transform(image, change)
    # Within a pixel of the border, scipy does not mix with the constant outside.
    assert np.mean(np.abs(ours - theirs) < 0.05) > (0.999 if mode != "constant" else 0.8)


@pytest.mark.parametrize(
    "options",
    [
        {"rescale": 1 / 255},
        {"samplewise_center": True, "samplewise_std_normalization": True},
        {"featurewise_center": True},
        {"featurewise_center": True, "featurewise_std_normalization": True},
        {"featurewise_center": True, "zca_whitening": True},
        {"preprocessing_function": lambda x: x - 3, "rescale": 2.0},
    ],
)
def test_image_statistics_match(options):
    images = np.random.uniform(0, 9, (20, 4, 4, 3)).astype("float32")
    ours, theirs = ImageDataGenerator(**options), old_image.ImageDataGenerator(**options)
    if options.get("featurewise_center"):
        ours.fit(images)
        theirs.fit(images)
    expected = theirs.standardize(images[0].copy())
    np.testing.assert_allclose(ours.standardize(images[0]), expected, rtol=1e-3, atol=1e-3)


def test_batches_of_arrays():
    images, labels = np.random.normal(size=(10, 4, 4, 3)).astype("float32"), np.arange(10)
    batches = ImageDataGenerator(validation_split=0.3).flow(images, labels, batch_size=4, shuffle=False)
    assert len(batches) == 3
    np.testing.assert_array_equal(batches[2][0], images[8:])
    shown = [next(batches)[1].tolist() for _ in range(4)]
    assert shown == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]
    generator = ImageDataGenerator(validation_split=0.3)
    assert generator.flow(images, labels, subset="validation", shuffle=False)[0][1].tolist() == [0, 1, 2]
    weighted = generator.flow(images, labels, sample_weight=labels / 2, subset="training", shuffle=False)[0]
    np.testing.assert_array_equal(weighted[2], labels[3:] / 2)
    first, second = (generator.flow(images, labels, seed=3)[0][1].tolist() for _ in range(2))
    assert first == second and sorted(first) == list(range(10)) != first


def test_random_changes_stay_within_their_ranges():
    generator = ImageDataGenerator(
        rotation_range=20,
        width_shift_range=0.5,
        height_shift_range=[-3, 3],
        zoom_range=0.2,
        brightness_range=(0.5, 1.5),
        horizontal_flip=True,
    )
    drawn = [generator.get_random_transform((10, 20, 3), seed) for seed in range(200)]
    assert all(-20 <= d["theta"] <= 20 and -10 <= d["tx"] <= 10 and d["ty"] in (-3, 3) for d in drawn)
    assert all(0.8 <= d["zx"] <= 1.2 and 0.5 <= d["brightness"] <= 1.5 for d in drawn)
    assert 60 < sum(d["flip_horizontal"] for d in drawn) < 140
    image = np.full((6, 6, 3), 100.0, "float32")
    assert generator.random_transform(image, seed=1).shape == image.shape


@pytest.mark.parametrize("mode", ["categorical", "sparse", "binary", "input", None])
def test_batches_of_files(tmp_path, mode, capsys):
    for i in range(6):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        utils.save_img(tmp_path / "ab"[i % 2] / f"{i}.png", np.full((5, 6, 3), i * 10), scale=False)
    options = {"target_size": (4, 4), "class_mode": mode, "batch_size": 4, "shuffle": False}
    ours = ImageDataGenerator().flow_from_directory(tmp_path, **options)
    theirs = old_image.ImageDataGenerator().flow_from_directory(str(tmp_path), **options)
    assert ours.class_indices == theirs.class_indices and ours.filenames == theirs.filenames
    assert ours.classes.tolist() == theirs.classes.tolist() and ours.samples == theirs.samples
    pairs = zip(ours[0], theirs[0], strict=True) if mode else [(ours[0], theirs[0])]
    for a, b in pairs:
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert capsys.readouterr().out.count("Found 6 images belonging to 2 classes.") == 2


def test_what_the_generator_refuses():
    with pytest.raises(ArgumentError, match="fill_mode"):
        ImageDataGenerator(fill_mode="edge")
    with pytest.raises(ArgumentError, match="subset"):
        ImageDataGenerator().flow(np.ones((2, 2, 2, 1)), subset="validation")
    with pytest.raises(DataError, match="four axes"):
        ImageDataGenerator().flow(np.ones((2, 2, 2)))
    with pytest.raises(StateError, match=r"fit\(x\)"):
        ImageDataGenerator(featurewise_center=True).standardize(np.ones((2, 2, 1)))
