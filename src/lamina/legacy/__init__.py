"""What Keras still offers of its earlier versions under `keras.legacy`."""

from lamina.legacy import saving as saving
