"""Races of optimizers on tasks, and the folders that keep what they found."""
