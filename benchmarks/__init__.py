"""Programs that measure lamina against its peers: `python -m benchmarks --help`."""
