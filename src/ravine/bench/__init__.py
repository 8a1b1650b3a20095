"""Measurements of Ravine's speed, side by side with what it is compared to."""
