"""Read what a task wrote, and say how it ended: causes before consequences."""
