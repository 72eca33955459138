"""Models under controlled noise, reverberation, level and speaking rate."""
