"""The dashboard: a viewer of run folders; imports nothing heavy and no plugin."""
