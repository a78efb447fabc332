"""Settings and questions that programs ask of `keras.backend`.

Source: https://keras.io/api/utils/config_utils/
"""

from lamina.core.config import backend as backend
from lamina.core.config import epsilon as epsilon
from lamina.core.config import floatx as floatx
from lamina.core.config import image_data_format as image_data_format
from lamina.core.config import set_epsilon as set_epsilon
from lamina.core.config import set_floatx as set_floatx
from lamina.core.config import set_image_data_format as set_image_data_format
from lamina.core.dtypes import is_float as is_float_dtype
from lamina.core.dtypes import is_int as is_int_dtype
from lamina.core.dtypes import result_type as result_type
from lamina.core.dtypes import standardize_dtype as standardize_dtype
from lamina.core.naming import clear_session as clear_session
from lamina.core.naming import get_uid as get_uid
from lamina.graph.tensor import is_keras_tensor as is_keras_tensor
