"""Image files to arrays and back."""

from lamina.data.images import array_to_img as array_to_img
from lamina.data.images import img_to_array as img_to_array
from lamina.data.images import load_img as load_img
from lamina.data.images import save_img as save_img
from lamina.data.images import smart_resize as smart_resize
