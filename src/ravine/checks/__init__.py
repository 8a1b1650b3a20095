"""Is this optimizer right, and if not, what is wrong with it?"""
