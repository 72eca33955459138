"""Tables of results held against each other."""
