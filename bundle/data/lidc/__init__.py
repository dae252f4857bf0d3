"""LIDC-IDRI: the readers' outlines, the study's cohort, nodules with their voxels."""
