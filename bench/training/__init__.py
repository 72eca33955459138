"""One training loop for bases and students, its state, its teacher and the choice of its epoch."""
