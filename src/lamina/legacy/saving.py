"""Configs in the form of Keras 2."""

from lamina.saving.old_configs import deserialize_keras_object as deserialize_keras_object
from lamina.saving.old_configs import serialize_keras_object as serialize_keras_object
