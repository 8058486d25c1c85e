"""Parts of the benchmark of `observe/`."""
