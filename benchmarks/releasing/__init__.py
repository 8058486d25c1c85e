"""Parts of the benchmark of releases."""
