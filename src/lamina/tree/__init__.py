"""Nested structures of values: `lamina.tree.map_structure(function, structure)`.

Source: https://keras.io/api/utils/tree/
"""

from __future__ import annotations

from lamina.core.tree import MAP_TO_NONE as MAP_TO_NONE
from lamina.core.tree import assert_same_paths as assert_same_paths
from lamina.core.tree import assert_same_structure as assert_same_structure
from lamina.core.tree import flatten as flatten
from lamina.core.tree import flatten_with_path as flatten_with_path
from lamina.core.tree import is_nested as is_nested
from lamina.core.tree import lists_to_tuples as lists_to_tuples
from lamina.core.tree import map_shape_structure as map_shape_structure
from lamina.core.tree import map_structure as map_structure
from lamina.core.tree import map_structure_up_to as map_structure_up_to
from lamina.core.tree import pack_sequence_as as pack_sequence_as
from lamina.core.tree import traverse as traverse
