"""The checks: a module for each kind of question, a function for each question."""
