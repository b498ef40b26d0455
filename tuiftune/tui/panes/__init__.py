"""The panes of the run screen, a file each."""
