"""Inputs to fit, evaluate and predict."""

from lamina.data.pipeline import Dataset as Dataset
from lamina.data.py_dataset import PyDataset as PyDataset
from lamina.data.source import pack_x_y_sample_weight as pack_x_y_sample_weight
from lamina.data.source import unpack_x_y_sample_weight as unpack_x_y_sample_weight
