"""Radiomic features of a nodule: their names, the library that computes them, and their rows of ``radiomics.csv``."""
