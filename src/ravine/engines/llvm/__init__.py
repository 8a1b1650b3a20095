"""A kernel printed as LLVM IR: the whole step over all tensors, fused. docs/architecture.md has a map."""
