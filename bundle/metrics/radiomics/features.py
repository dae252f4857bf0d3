"""The 93 features: names as pyradiomics has them, in lower case, by class, and what two kinds of them depend on.

Reference: van Griethuysen, Cancer Res 2017; 77:e104. Two that pyradiomics calls superseded are left out: the standard
deviation, root of the variance, and the normalised gray level non-uniformity of GLDM, which is the uniformity.
"""

from __future__ import annotations

CLASSES = {
    "firstorder": "first order",
    "glcm": "GLCM",
    "glrlm": "GLRLM",
    "glszm": "GLSZM",
    "gldm": "GLDM",
    "ngtdm": "NGTDM",
}
"""Classes of features: first order, then gray level co-occurrence (GLCM), run length (GLRLM), size zone (GLSZM),
dependence (GLDM) and neighbourhood difference (NGTDM) matrices; labels by name."""

_NAMES = {
    "firstorder": """energy total_energy entropy minimum 10th_percentile 90th_percentile maximum mean median
        interquartile_range range mean_absolute_deviation robust_mean_absolute_deviation root_mean_squared skewness
        kurtosis variance uniformity""",
    "glcm": """autocorrelation joint_average cluster_prominence cluster_shade cluster_tendency contrast correlation
        difference_average difference_entropy difference_variance joint_energy joint_entropy imc1 imc2 idm mcc idmn id
        idn inverse_variance maximum_probability sum_average sum_entropy sum_squares""",
    "glrlm": """short_run_emphasis long_run_emphasis gray_level_non_uniformity gray_level_non_uniformity_normalized
        run_length_non_uniformity run_length_non_uniformity_normalized run_percentage gray_level_variance run_variance
        run_entropy low_gray_level_run_emphasis high_gray_level_run_emphasis short_run_low_gray_level_emphasis
        short_run_high_gray_level_emphasis long_run_low_gray_level_emphasis long_run_high_gray_level_emphasis""",
    "glszm": """small_area_emphasis large_area_emphasis gray_level_non_uniformity gray_level_non_uniformity_normalized
        size_zone_non_uniformity size_zone_non_uniformity_normalized zone_percentage gray_level_variance zone_variance
        zone_entropy low_gray_level_zone_emphasis high_gray_level_zone_emphasis small_area_low_gray_level_emphasis
        small_area_high_gray_level_emphasis large_area_low_gray_level_emphasis large_area_high_gray_level_emphasis""",
    "gldm": """small_dependence_emphasis large_dependence_emphasis gray_level_non_uniformity dependence_non_uniformity
        dependence_non_uniformity_normalized gray_level_variance dependence_variance dependence_entropy
        low_gray_level_emphasis high_gray_level_emphasis small_dependence_low_gray_level_emphasis
        small_dependence_high_gray_level_emphasis large_dependence_low_gray_level_emphasis
        large_dependence_high_gray_level_emphasis""",
    "ngtdm": "coarseness contrast busyness complexity strength",
}

Feature = tuple[str, str]
"""Class and name."""

FEATURES: tuple[Feature, ...] = tuple((group, name) for group in CLASSES for name in _NAMES[group].split())

NUMBERED = frozenset(
    {(group, name) for group, name in FEATURES if "low_gray" in name or "high_gray" in name}
    | {("glcm", name) for name in ("autocorrelation", "joint_average", "sum_average", "idn", "idmn")}
    | {("ngtdm", "busyness")}
)
"""Features that change where gray levels are counted from another one, though no bin has other voxels: the bin origin
decides them. In pyradiomics that is the darkest voxel of each region, here a fixed one."""

COUNTING = frozenset(
    {(group, name) for group, name in FEATURES if name.endswith("non_uniformity")}
    | {("firstorder", "energy"), ("firstorder", "total_energy")}
    | {("ngtdm", name) for name in ("coarseness", "busyness", "strength")}
)
"""Features that double, or halve, where there is twice of the same tissue: nodules of several sizes spread them, so
that they agree whatever the texture."""
