"""Models and weights to files and back, in Keras's own formats."""

from __future__ import annotations

from lamina.core.limits import Limits as Limits
from lamina.core.registry import CustomObjectScope as CustomObjectScope
from lamina.core.registry import custom_object_scope as custom_object_scope
from lamina.core.registry import get_custom_objects as get_custom_objects
from lamina.core.registry import get_registered_name as get_registered_name
from lamina.core.registry import get_registered_object as get_registered_object
from lamina.core.registry import register_keras_serializable as register_keras_serializable
from lamina.core.serialization import deserialize_keras_object as deserialize_keras_object
from lamina.core.serialization import serialize_keras_object as serialize_keras_object
from lamina.saving.editor import KerasFileEditor as KerasFileEditor
from lamina.saving.models import load_model as load_model
from lamina.saving.models import save_model as save_model
from lamina.saving.weights import load_weights as load_weights
from lamina.saving.weights import save_weights as save_weights
