"""Floor 1: symbolic tensors, the graph they leave behind, and how it is run."""
