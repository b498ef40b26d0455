"""What the causal_lm trainer is made of; imported by the worker alone."""
