"""The digital phantom of the Image Biomarker Standardisation Initiative, and the published values of its features.

Phantom: theibsi/data_sets, ibsi_1_digital_phantom (CC BY 4.0); IBSI reference manual, arXiv 1612.07003, section 5.1.
Values: the same manual's tables for "dig. phantom": intensity statistics, intensity histogram, GLCM and GLRLM "3D,
averaged", GLSZM, NGTDM and NGLDM "3D", to three digits, as the manual prints them.
"""

import numpy as np

# a block a slice; a row a line along x, the first with the lowest y; 0 is outside
_SLICES = """
1 4 4 1 1  1 4 6 1 1  4 1 6 4 1  4 4 6 4 1
1 4 4 1 1  1 1 6 1 1  0 1 3 1 1  4 4 6 1 1
1 4 4 0 0  1 1 1 1 1  1 1 0 1 1  1 1 6 1 1
1 4 4 0 0  1 1 1 1 1  1 1 1 1 1  1 1 6 1 1
"""
PHANTOM = np.array(_SLICES.split(), dtype=np.float64).reshape(4, 4, 5).transpose(2, 1, 0)  # (X, Y, Z)
INSIDE = PHANTOM > 0
SPACING = (2.0, 2.0, 2.0)

# our class and name: value. What IBSI calls otherwise is said behind it.
VALUES = {
    ("firstorder", "mean"): 2.15,
    ("firstorder", "variance"): 3.05,
    ("firstorder", "skewness"): 1.08,
    ("firstorder", "median"): 1.0,
    ("firstorder", "minimum"): 1.0,
    ("firstorder", "10th_percentile"): 1.0,
    ("firstorder", "90th_percentile"): 4.0,
    ("firstorder", "maximum"): 6.0,
    ("firstorder", "interquartile_range"): 3.0,
    ("firstorder", "range"): 5.0,
    ("firstorder", "mean_absolute_deviation"): 1.55,
    ("firstorder", "robust_mean_absolute_deviation"): 1.11,
    ("firstorder", "energy"): 567.0,
    ("firstorder", "root_mean_squared"): 2.77,
    ("firstorder", "entropy"): 1.27,  # of the histogram
    ("firstorder", "uniformity"): 0.512,  # of the histogram
    ("glcm", "maximum_probability"): 0.503,  # joint maximum
    ("glcm", "joint_average"): 2.14,
    ("glcm", "sum_squares"): 3.1,  # joint variance
    ("glcm", "joint_entropy"): 2.4,
    ("glcm", "difference_average"): 1.43,  # also dissimilarity
    ("glcm", "difference_variance"): 3.06,
    ("glcm", "difference_entropy"): 1.56,
    ("glcm", "sum_average"): 4.29,
    ("glcm", "sum_entropy"): 1.92,
    ("glcm", "joint_energy"): 0.303,  # angular second moment
    ("glcm", "contrast"): 5.32,
    ("glcm", "id"): 0.677,  # inverse difference
    ("glcm", "idn"): 0.851,
    ("glcm", "idm"): 0.618,
    ("glcm", "idmn"): 0.898,
    ("glcm", "inverse_variance"): 0.0604,
    ("glcm", "correlation"): 0.157,
    ("glcm", "autocorrelation"): 5.06,
    ("glcm", "cluster_tendency"): 7.07,
    ("glcm", "cluster_shade"): 16.6,
    ("glcm", "cluster_prominence"): 145.0,
    ("glcm", "imc1"): -0.157,
    ("glcm", "imc2"): 0.52,
    ("glrlm", "short_run_emphasis"): 0.705,
    ("glrlm", "long_run_emphasis"): 3.06,
    ("glrlm", "low_gray_level_run_emphasis"): 0.603,
    ("glrlm", "high_gray_level_run_emphasis"): 9.7,
    ("glrlm", "short_run_low_gray_level_emphasis"): 0.352,
    ("glrlm", "short_run_high_gray_level_emphasis"): 8.54,
    ("glrlm", "long_run_low_gray_level_emphasis"): 2.39,
    ("glrlm", "long_run_high_gray_level_emphasis"): 17.6,
    ("glrlm", "gray_level_non_uniformity"): 21.8,
    ("glrlm", "gray_level_non_uniformity_normalized"): 0.43,
    ("glrlm", "run_length_non_uniformity"): 26.9,
    ("glrlm", "run_length_non_uniformity_normalized"): 0.513,
    ("glrlm", "run_percentage"): 0.68,
    ("glrlm", "gray_level_variance"): 3.46,
    ("glrlm", "run_variance"): 0.574,
    ("glrlm", "run_entropy"): 2.43,
    ("glszm", "small_area_emphasis"): 0.255,
    ("glszm", "large_area_emphasis"): 550.0,
    ("glszm", "low_gray_level_zone_emphasis"): 0.253,
    ("glszm", "high_gray_level_zone_emphasis"): 15.6,
    ("glszm", "small_area_low_gray_level_emphasis"): 0.0256,
    ("glszm", "small_area_high_gray_level_emphasis"): 2.76,
    ("glszm", "large_area_low_gray_level_emphasis"): 503.0,
    ("glszm", "large_area_high_gray_level_emphasis"): 1490.0,
    ("glszm", "gray_level_non_uniformity"): 1.4,
    ("glszm", "gray_level_non_uniformity_normalized"): 0.28,
    ("glszm", "size_zone_non_uniformity"): 1.0,
    ("glszm", "size_zone_non_uniformity_normalized"): 0.2,
    ("glszm", "zone_percentage"): 0.0676,
    ("glszm", "gray_level_variance"): 2.64,
    ("glszm", "zone_variance"): 331.0,
    ("glszm", "zone_entropy"): 2.32,
    # IBSI's NGLDM, whose low and high dependence is small and large here
    ("gldm", "small_dependence_emphasis"): 0.045,
    ("gldm", "large_dependence_emphasis"): 109.0,
    ("gldm", "low_gray_level_emphasis"): 0.693,
    ("gldm", "high_gray_level_emphasis"): 7.66,
    ("gldm", "small_dependence_low_gray_level_emphasis"): 0.00963,
    ("gldm", "small_dependence_high_gray_level_emphasis"): 0.736,
    ("gldm", "large_dependence_low_gray_level_emphasis"): 102.0,
    ("gldm", "large_dependence_high_gray_level_emphasis"): 235.0,
    ("gldm", "gray_level_non_uniformity"): 37.9,
    ("gldm", "dependence_non_uniformity"): 4.86,
    ("gldm", "dependence_non_uniformity_normalized"): 0.0657,
    ("gldm", "gray_level_variance"): 3.05,
    ("gldm", "dependence_variance"): 22.1,
    ("gldm", "dependence_entropy"): 4.4,
    ("ngtdm", "coarseness"): 0.0296,
    ("ngtdm", "contrast"): 0.584,
    ("ngtdm", "busyness"): 6.54,
    ("ngtdm", "complexity"): 13.5,
    ("ngtdm", "strength"): 0.763,
}

EXCESS_KURTOSIS = -0.355
