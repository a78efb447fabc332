"""Helpers around models and data, by their public names.

Source: https://keras.io/api/utils/
"""

from lamina.callbacks.progress import Progbar as Progbar
from lamina.core.dtypes import standardize_dtype as standardize_dtype
from lamina.core.naming import clear_session as clear_session
from lamina.core.registry import CustomObjectScope as CustomObjectScope
from lamina.core.registry import custom_object_scope as custom_object_scope
from lamina.core.registry import get_custom_objects as get_custom_objects
from lamina.core.registry import get_registered_name as get_registered_name
from lamina.core.registry import get_registered_object as get_registered_object
from lamina.core.registry import register_keras_serializable as register_keras_serializable
from lamina.core.seeds import set_random_seed as set_random_seed
from lamina.core.serialization import deserialize_keras_object as deserialize_keras_object
from lamina.core.serialization import serialize_keras_object as serialize_keras_object
from lamina.data.images import array_to_img as array_to_img
from lamina.data.images import img_to_array as img_to_array
from lamina.data.images import load_img as load_img
from lamina.data.images import save_img as save_img
from lamina.data.preparation import normalize as normalize
from lamina.data.preparation import pad_sequences as pad_sequences
from lamina.data.preparation import to_categorical as to_categorical
from lamina.data.py_dataset import PyDataset as PyDataset
from lamina.data.py_dataset import PyDataset as Sequence
from lamina.data.source import pack_x_y_sample_weight as pack_x_y_sample_weight
from lamina.data.source import unpack_x_y_sample_weight as unpack_x_y_sample_weight
from lamina.datasets.download import get_file as get_file
from lamina.graph.tensor import is_keras_tensor as is_keras_tensor
from lamina.utils import bounding_boxes as bounding_boxes
