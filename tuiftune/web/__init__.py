"""The dashboard in a browser: only imported where `tuiftune serve` was asked for."""
