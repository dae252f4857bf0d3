"""The private fast ways to take an epoch; what the engines in the folder above choose from."""
