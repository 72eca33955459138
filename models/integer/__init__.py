"""The integer model: its operations, their arithmetic in NumPy, its file, and the torch model around it."""
