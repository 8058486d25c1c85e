"""Parts of the benchmark of grading: speed against peers, a cluster, and the answers that checks must tell apart."""
