"""Running, checking and grading the notebooks."""
