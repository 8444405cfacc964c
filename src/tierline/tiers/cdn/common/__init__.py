"""What the systems of the tier have in common, and the parts of its intent that have rooms of their own."""
