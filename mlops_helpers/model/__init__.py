"""Comments -> validated data -> model -> registered artifact."""
