"""How much of what people get wrong the checker sees: textbook optimizers, put wrong in their source text.

python -m mutants: docs/checker-score.json and the page docs/checker-score.md; some minutes. See `score.py`.
"""
