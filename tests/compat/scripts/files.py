"""Models, weights and checkpoints in .h5 and .hdf5, as in scripts for Keras 2."""
import os
import sys

import numpy as np
from keras.callbacks import ModelCheckpoint, ReduceLROnPlateau
from keras.layers import Dense
from keras.models import Sequential, load_model, save_model

os.chdir(sys.argv[1])
x, y = np.random.rand(60, 4), np.random.randint(0, 2, 60)
model = Sequential([Dense(4, input_dim=4, activation="relu"), Dense(1, activation="sigmoid")])
model.compile("adam", "binary_crossentropy", ["accuracy"])
assert model.metrics_names[0] == "loss"
best = ModelCheckpoint("best.hdf5", monitor="val_acc", save_best_only=True, mode="max", period=1)
weights = ModelCheckpoint("weights.h5", save_weights_only=True)
model.fit(x, y, validation_split=0.2, verbose=0, callbacks=[best, weights, ReduceLROnPlateau(epsilon=1e-4)])
assert model.metrics_names == ["loss", "accuracy"]
expected = model.predict(x, verbose=0)
for path in ("best.hdf5", "weights.h5"):
    model.load_weights(path)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5)
model.save("whole.h5")
save_model(model, "again.h5")
model.save_weights("alone.h5")
assert sorted(os.listdir(".")) == ["again.h5", "alone.h5", "best.hdf5", "weights.h5", "whole.h5"]
for path in ("whole.h5", "again.h5"):
    np.testing.assert_allclose(load_model(path).predict(x, verbose=0), expected, rtol=1e-5)
