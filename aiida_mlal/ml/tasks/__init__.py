"""What a calculation does: each task is its own options, read from JSON, and writes files."""
