"""One thin CalcJob for each task: it writes ``task.json`` and says which files are needed."""
