"""Ops of images: their geometry, colours, filters and patches.

Source: https://keras.io/api/ops/image/
"""

from __future__ import annotations

from lamina.ops.imaging import extract_patches as extract_patches
from lamina.ops.imaging import extract_patches_3d as extract_patches_3d
from lamina.ops.imaging import gaussian_blur as gaussian_blur
from lamina.ops.imaging import hsv_to_rgb as hsv_to_rgb
from lamina.ops.imaging import rgb_to_grayscale as rgb_to_grayscale
from lamina.ops.imaging import rgb_to_hsv as rgb_to_hsv
from lamina.ops.imaging import sobel_edges as sobel_edges
from lamina.ops.imaging import ssim as ssim
from lamina.ops.resampling import crop_images as crop_images
from lamina.ops.resampling import pad_images as pad_images
from lamina.ops.resampling import resize as resize
from lamina.ops.resampling import scale_and_translate as scale_and_translate
from lamina.ops.warping import affine_transform as affine_transform
from lamina.ops.warping import elastic_transform as elastic_transform
from lamina.ops.warping import map_coordinates as map_coordinates
from lamina.ops.warping import perspective_transform as perspective_transform
