"""Preparing images and sequences, under the names older programs know.

Source: https://keras.io/api/data_loading/
"""

from lamina.data.directories import image_dataset_from_directory as image_dataset_from_directory
from lamina.data.directories import text_dataset_from_directory as text_dataset_from_directory
from lamina.data.windows import timeseries_dataset_from_array as timeseries_dataset_from_array
from lamina.preprocessing import image as image
from lamina.preprocessing import sequence as sequence
