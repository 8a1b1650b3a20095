"""Kernels as Triton text, for GPUs: printed, launched, and tried against the eager engine."""
