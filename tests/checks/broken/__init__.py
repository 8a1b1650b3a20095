"""A wrong optimizer for each check, in files named as those of ravine.checks.named.

`caught_by` names the check. Of checks that report facts it is one of which the fact is another than of SGD.
"""
