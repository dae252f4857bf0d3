"""DICOM series: find, order, read in HU, write, say what was derived."""
