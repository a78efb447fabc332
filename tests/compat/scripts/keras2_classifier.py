"""A classifier as it was written for Keras 2: old paths, lr and decay, np_utils, predict_classes."""
from __future__ import print_function

import numpy as np
from keras import __version__
from keras.callbacks import EarlyStopping, ReduceLROnPlateau
from keras.engine.topology import Layer
from keras.layers import Input
from keras.layers.advanced_activations import LeakyReLU
from keras.layers.core import Activation, Dense, Dropout
from keras.layers.normalization import BatchNormalization
from keras.models import Model, Sequential, model_from_json
from keras.optimizers import SGD
from keras.regularizers import l2
from keras.utils import np_utils
from keras.utils.np_utils import to_categorical

assert int(__version__.split(".")[0]) >= 2
np.random.seed(1)
x = np.random.normal(size=(600, 10))
y = np.argmax(x[:, :3], axis=1)
targets = np_utils.to_categorical(y, 3)
assert (targets == to_categorical(y, 3)).all()

model = Sequential()
model.add(Dense(32, input_dim=10, kernel_initializer="he_normal", kernel_regularizer=l2(1e-5)))
model.add(LeakyReLU(alpha=0.1))
model.add(BatchNormalization())
model.add(Dropout(0.1))
model.add(Dense(3))
model.add(Activation("softmax"))
sgd = SGD(lr=0.1, decay=1e-3, momentum=0.9, nesterov=True)
model.compile(loss="categorical_crossentropy", optimizer=sgd, metrics=["accuracy"])
assert abs(float(sgd.lr) - 0.1) < 1e-6
callbacks = [
    EarlyStopping(monitor="val_acc", patience=20, mode="max"),
    ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=20),
]
history = model.fit(
    x, targets, nb_epoch=15, batch_size=32, verbose=0, validation_split=0.2, callbacks=[callbacks[0]]
)
assert history.history["acc"] == history.history["accuracy"]
assert history.history["val_acc"][-1] > 0.8, history.history["val_acc"]
assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
assert float(model.optimizer.learning_rate) < 0.095  # it decays

classes = model.predict_classes(x)
assert classes.shape == (600,) and np.mean(classes == y) > 0.8
np.testing.assert_allclose(model.predict_proba(x), model.predict(x, verbose=0))

copy = model_from_json(model.to_json())
copy.set_weights(model.get_weights())
np.testing.assert_allclose(copy.predict(x[:5], verbose=0), model.predict(x[:5], verbose=0), rtol=1e-6)
assert issubclass(Dense, Layer)
inputs = Input(shape=(10,))
assert Model(inputs=inputs, outputs=copy(inputs)).count_params() == model.count_params()
print("done")
