"""Colours of pictures, curves and pages; people with any kind of colour vision tell them apart.

They are those of Okabe and Ito, "Color Universal Design" (2008), on a dark ground.
"""

from __future__ import annotations

BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
GREY = "#999999"

# Of the classes, in the order of CLASS_NAMES; more classes begin again.
CLASSES = (SKY_BLUE, ORANGE, PURPLE, YELLOW, VERMILION)

# What became of a labelled object or of a detection. The two hits are the pair that agrees.
FOUND, HIT, MISSED, FALSE_POSITIVE, IGNORED = GREEN, SKY_BLUE, YELLOW, VERMILION, GREY
