"""Questions that take several chains."""
