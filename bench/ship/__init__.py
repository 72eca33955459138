"""What leaves the toolkit: the file of an integer model, and what is made of it."""
