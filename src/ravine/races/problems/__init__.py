"""Bundled problems: each is a task in a separate file, in plain PyTorch, found by its name."""
