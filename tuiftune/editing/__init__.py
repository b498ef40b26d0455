"""Change a profile without writing TOML by hand: drafts, their fields, and the files they are saved to."""
