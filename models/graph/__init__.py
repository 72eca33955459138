"""What a forward computes, read from torch.fx: its nodes, its units, the same on endless audio."""
