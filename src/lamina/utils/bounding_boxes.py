"""Bounding boxes between formats, with images that move, and compared.

Source: https://keras.io/api/utils/bounding_boxes/
"""

from lamina.layers.preprocessing.boxes import affine_transform as affine_transform
from lamina.layers.preprocessing.boxes import clip_to_image_size as clip_to_image_size
from lamina.layers.preprocessing.boxes import compute_ciou as compute_ciou
from lamina.layers.preprocessing.boxes import compute_iou as compute_iou
from lamina.layers.preprocessing.boxes import convert_format as convert_format
from lamina.layers.preprocessing.boxes import crop as crop
from lamina.layers.preprocessing.boxes import decode_deltas_to_boxes as decode_deltas_to_boxes
from lamina.layers.preprocessing.boxes import encode_box_to_deltas as encode_box_to_deltas
from lamina.layers.preprocessing.boxes import pad as pad
