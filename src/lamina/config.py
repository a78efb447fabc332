"""Settings of the whole process."""

from lamina.core.config import backend as backend
from lamina.core.config import disable_flash_attention as disable_flash_attention
from lamina.core.config import enable_flash_attention as enable_flash_attention
from lamina.core.config import epsilon as epsilon
from lamina.core.config import floatx as floatx
from lamina.core.config import image_data_format as image_data_format
from lamina.core.config import is_flash_attention_enabled as is_flash_attention_enabled
from lamina.core.config import keeps_memory as keeps_memory
from lamina.core.config import set_epsilon as set_epsilon
from lamina.core.config import set_floatx as set_floatx
from lamina.core.config import set_image_data_format as set_image_data_format
from lamina.core.config import set_keep_memory as set_keep_memory
from lamina.core.policies import dtype_policy as dtype_policy
from lamina.core.policies import set_dtype_policy as set_dtype_policy
