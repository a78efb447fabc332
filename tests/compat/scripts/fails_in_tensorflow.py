"""Uses a part of TensorFlow that lamina does not stand in for."""
import tensorflow as tf

print("before")
tf.reduce_mean([1.0, 2.0])
