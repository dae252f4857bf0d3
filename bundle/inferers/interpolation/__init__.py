"""Methods that know the slices of this nodule alone and fit nothing: splines, flow, kriging, gated interpolation."""
