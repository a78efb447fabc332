"""Programs that measure lamina against its peers."""
