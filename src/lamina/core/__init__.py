"""Floor 0: what everything else stands on. Nothing here imports from the floors above."""
