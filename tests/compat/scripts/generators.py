"""ImageDataGenerator, fit_generator and a generator of one's own, as in scripts for Keras 2."""
import os
import sys

import numpy as np
from keras.callbacks import Callback, ModelCheckpoint
from keras.layers import Conv2D, Dense, Flatten, GlobalAveragePooling2D, MaxPooling2D
from keras.models import Sequential, load_model
from keras.preprocessing.image import ImageDataGenerator, array_to_img, img_to_array, load_img, save_img
from keras.utils import Sequence

folder = sys.argv[1]
rng = np.random.default_rng(0)
labels = np.arange(96) % 2
images = rng.uniform(0, 60, (96, 16, 16, 3)).astype("float32")
images[labels == 1, 4:12, 4:12] += 150
for i in range(32):
    os.makedirs(f"{folder}/{'ab'[labels[i]]}", exist_ok=True)
    save_img(f"{folder}/{'ab'[labels[i]]}/{i}.png", images[i], scale=False)


class StopWhenGood(Callback):
    def on_epoch_end(self, epoch, logs={}):
        if logs.get("acc") > 0.99:
            self.model.stop_training = True


def build():
    model = Sequential(
        [
            Conv2D(8, (3, 3), activation="relu", padding="same", input_shape=(16, 16, 3)),
            MaxPooling2D((2, 2)),
            GlobalAveragePooling2D(),
            Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


train = ImageDataGenerator(
    rescale=1.0 / 255, rotation_range=10, width_shift_range=0.1, height_shift_range=0.1, shear_range=0.1, zoom_range=0.1,
    horizontal_flip=True, fill_mode="nearest",
)
model = build()
checkpoint = ModelCheckpoint(f"{folder}/best.keras", monitor="val_acc", save_best_only=True, mode="max")
history = model.fit_generator(
    train.flow(images, labels, batch_size=16, seed=1),
    steps_per_epoch=6,
    epochs=40,
    validation_data=(images / 255, labels),
    verbose=0,
    workers=1,
    callbacks=[StopWhenGood(), checkpoint],
)
assert history.history["val_acc"][-1] > 0.9, history.history
assert load_model(f"{folder}/best.keras").count_params() == model.count_params()

from_files = ImageDataGenerator(rescale=1.0 / 255, validation_split=0.25)
batches = from_files.flow_from_directory(
    folder, target_size=(16, 16), class_mode="binary", batch_size=8, shuffle=False, subset="training"
)
assert batches.class_indices == {"a": 0, "b": 1} and batches.samples == 24 and len(batches) == 3
assert len(model.evaluate_generator(batches)) == 2
assert model.predict_generator(batches).shape == (24, 1)
classes = model.predict_classes(images / 255)
assert classes.shape == (96, 1) and set(np.unique(classes)) <= {0, 1}


def endless():
    while True:
        chosen = rng.integers(0, 96, 16)
        yield images[chosen] / 255, labels[chosen]


model.fit_generator(endless(), steps_per_epoch=4, epochs=2, verbose=0, validation_data=endless(), validation_steps=2)


class Batches(Sequence):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return images[index * 16 : (index + 1) * 16] / 255, labels[index * 16 : (index + 1) * 16]


model.fit(Batches(), epochs=1, verbose=0)
assert img_to_array(load_img(f"{folder}/a/0.png")).shape == (16, 16, 3)
assert array_to_img(images[0]).size == (16, 16)
print("done")
