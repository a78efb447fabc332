"""tf.keras as in the tutorials: a functional model with two inputs, a subclassed layer and model, callbacks."""
import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import backend as K
from tensorflow.keras import layers, losses
from tensorflow.keras.callbacks import Callback, LambdaCallback, LearningRateScheduler
from tensorflow.keras.layers import Concatenate, Dense, Input
from tensorflow.keras.models import Model
from tensorflow.python.keras.layers import Dense as SameDense

print(tf.__version__, tf.keras.__version__)
assert tf.keras.layers.Dense is keras.layers.Dense is Dense is SameDense
assert tf.__version__.startswith("2.")
tf.keras.utils.set_random_seed(1)
tf.keras.backend.clear_session()


class Doubled(layers.Layer):
    def __init__(self, units=8, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], self.units), initializer="glorot_uniform", name="w")
        self.b = self.add_weight(shape=(self.units,), initializer="zeros", name="b")

    def call(self, inputs):
        return 2.0 * (K.dot(inputs, self.w) + self.b)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def weighted_error(y_true, y_pred):
    return K.mean(K.square(y_true - y_pred) * K.exp(-K.abs(y_true)), axis=-1)


def largest_error(y_true, y_pred):
    return K.max(K.abs(y_true - y_pred))


class Watch(Callback):
    def __init__(self):
        super().__init__()
        self.losses = []
        self.last = None

    def on_batch_end(self, batch, logs=None):
        self.losses.append(logs.get("loss"))

    def on_epoch_end(self, epoch, logs={}):
        self.last = logs.get("val_largest_error")


first, second = Input(shape=(4,), name="first"), Input(shape=(3,), name="second")
x = Concatenate()([Doubled(8)(first), layers.Dense(8, activation=tf.keras.activations.relu)(second)])
x = layers.Lambda(lambda t: K.l2_normalize(t, axis=-1) * K.sqrt(K.cast(K.int_shape(t)[-1], "float32")))(x)
out = Dense(1, name="out")(x)
model = Model(inputs=[first, second], outputs=out)
model.summary()

rng = np.random.default_rng(0)
a, b = rng.normal(size=(256, 4)).astype("float32"), rng.normal(size=(256, 3)).astype("float32")
y = (a[:, :1] - b[:, :1]).astype("float32")
model.compile(tf.keras.optimizers.Adam(learning_rate=0.01), loss=weighted_error, metrics=[largest_error])
watch, seen = Watch(), []
history = model.fit(
    [a, b],
    y,
    epochs=8,
    batch_size=32,
    validation_data=([a, b], y),
    verbose=0,
    workers=2,
    callbacks=[
        watch,
        LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch)),
        LearningRateScheduler(lambda epoch: 0.02 if epoch < 4 else 0.01),
    ],
)
assert seen == list(range(8)) and len(watch.losses) == 64 and watch.last is not None
assert history.history["loss"][-1] < history.history["loss"][0]
assert abs(K.get_value(model.optimizer.lr) - 0.01) < 1e-6
K.set_value(model.optimizer.lr, 0.005)
assert abs(float(model.optimizer.learning_rate) - 0.005) < 1e-7

middle = K.function([model.input[0], model.input[1]], [model.layers[-2].output])
assert middle([a[:5], b[:5]])[0].shape == (5, 16)


class Net(tf.keras.Model):
    def __init__(self):
        super(Net, self).__init__()
        self.hidden = layers.Dense(8, activation="tanh")
        self.drop = layers.Dropout(0.5)
        self.top = layers.Dense(2)

    def call(self, x, training=False):
        return self.top(self.drop(self.hidden(x), training=training))


net = Net()
net.compile(
    optimizer="adam", loss=losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["sparse_categorical_accuracy"]
)
net.fit(a, (y[:, 0] > 0).astype("int32"), epochs=2, verbose=0)
assert net.predict(a, verbose=0).shape == (256, 2)
print("done")
