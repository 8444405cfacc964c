"""The contract suites: one per tier, inherited by every system with an empty subclass."""
