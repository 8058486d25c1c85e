"""Other ways to serve the same pipeline, started as real servers, and the workload that all are measured with.

Kept free of imports: servers are started from modules of this package, and their start is measured.
"""
