"""Any method over a whole scan, on a grid of slices that is asked for."""
