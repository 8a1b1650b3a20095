"""Bundled problems: each is a task in a file of its own, in plain PyTorch, found by its name."""
