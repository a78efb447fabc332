"""Helpers around models and data, by their public names.

Source: https://keras.io/api/utils/
"""

from lamina.callbacks.progress import Progbar as Progbar
from lamina.core.config import disable_interactive_logging as disable_interactive_logging
from lamina.core.config import enable_interactive_logging as enable_interactive_logging
from lamina.core.config import is_interactive_logging_enabled as is_interactive_logging_enabled
from lamina.core.dtypes import standardize_dtype as standardize_dtype
from lamina.core.naming import clear_session as clear_session
from lamina.core.registry import CustomObjectScope as CustomObjectScope
from lamina.core.registry import custom_object_scope as custom_object_scope
from lamina.core.registry import get_custom_objects as get_custom_objects
from lamina.core.registry import get_registered_name as get_registered_name
from lamina.core.registry import get_registered_object as get_registered_object
from lamina.core.registry import register_keras_serializable as register_keras_serializable
from lamina.core.seeds import enable_determinism as enable_determinism
from lamina.core.seeds import set_random_seed as set_random_seed
from lamina.core.serialization import deserialize_keras_object as deserialize_keras_object
from lamina.core.serialization import serialize_keras_object as serialize_keras_object
from lamina.core.settings import Config as Config
from lamina.data.directories import audio_dataset_from_directory as audio_dataset_from_directory
from lamina.data.directories import image_dataset_from_directory as image_dataset_from_directory
from lamina.data.directories import text_dataset_from_directory as text_dataset_from_directory
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
from lamina.data.splitting import split_dataset as split_dataset
from lamina.data.windows import timeseries_dataset_from_array as timeseries_dataset_from_array
from lamina.datasets.download import get_file as get_file
from lamina.graph.operation import get_source_inputs as get_source_inputs
from lamina.graph.tensor import is_keras_tensor as is_keras_tensor
from lamina.models.feature_space import FeatureSpace as FeatureSpace
from lamina.utils import bounding_boxes as bounding_boxes
from lamina.utils import legacy as legacy
from lamina.visualization.graphs import model_to_dot as model_to_dot
from lamina.visualization.graphs import plot_model as plot_model
