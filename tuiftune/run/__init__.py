"""The run folder and the processes that share it."""
