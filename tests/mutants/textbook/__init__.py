"""Ten optimizers as textbooks write them, five in NumPy and five in PyTorch. They know nothing of Ravine."""
