"""The applications that `bench/journeys.py` runs side by side: each answers the same document."""
