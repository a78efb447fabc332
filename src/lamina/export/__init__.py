"""Models as files for other programs: ONNX, torch programs, compiled packages, OpenVINO, LiteRT, plain weights."""

from lamina.export.archive import ExportArchive as ExportArchive
from lamina.export.formats import export_model as export_model
from lamina.export.torch_names import torch_state_dict as torch_state_dict
