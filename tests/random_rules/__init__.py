"""Random rules, stepped by every engine and by 50-digit arithmetic.

`trees` are the rules, `strategies` draws them and what they are run on, `spans` and `meaning` say
what the answer may be, `engines` runs them, `agreement` compares, `report` prints what was found as
a test to paste. `python -m random_rules` (`make fuzz`) goes on for as long as it is told.
"""
