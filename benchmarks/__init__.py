"""Speed and memory measurements, side by side with the plain way of doing it."""
