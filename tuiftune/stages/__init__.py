"""Built-in stages: ordinary plugins, registered through the same hook as a stranger's."""
