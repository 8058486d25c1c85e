"""From an artifact to what answers readers: the platform, the runtimes it lives on, releases and their gates."""
