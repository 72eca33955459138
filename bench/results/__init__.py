"""What a run leaves: its folder, its row, and the table of rows."""
