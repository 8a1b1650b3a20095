"""The posts' experiments: figure-1, diamonds, claims and conditioning, with their tables and figures."""
