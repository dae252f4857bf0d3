"""Expected errors made into intervals that hold."""
