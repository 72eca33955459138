"""How sure a figure is: intervals, paired differences, repeats, and the simulation that checks them."""
