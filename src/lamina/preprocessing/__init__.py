"""Preparing images and sequences, under the names older programs know.

Source: https://keras.io/api/data_loading/
"""

from lamina.preprocessing import image as image
from lamina.preprocessing import sequence as sequence
