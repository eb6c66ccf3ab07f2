"""The large picture under Compare: one answer with layers to switch, corrected where it is seen."""
