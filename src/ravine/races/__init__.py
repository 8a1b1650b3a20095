"""Races of optimizers on tasks, and the folders in which results are stored."""
