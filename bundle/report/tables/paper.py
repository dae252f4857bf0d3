"""The paper's published values as data, to stand in a column beside ours.

A. Costanzo Ciano, *Implicit Neural Representations for Sparse CT Reconstruction of Pulmonary Nodules: A
Radiometric and Geometric Analysis*, 5 February 2026: 50 test nodules of LIDC-IDRI. Its "interp." is ``cubic``
here, its SIREN ``siren``, its morphological baseline ``morphological``. The regions are named as in
``metrics.csv``: its "global" is ``global``, its "local" ``tumour``.

Where its text gives only a mean, the sd is None; where it gives nothing, there is no entry.
"""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "A. Costanzo Ciano (2026)"
PAPER_NODULES = 50
THRESHOLDS_HU = (-500.0, -450.0, -400.0, -350.0, -300.0)


@dataclass(frozen=True)
class Published:
    """A published value: mean over 50 nodules, and its sd where the paper gives it.

    Example:
        >>> Published(0.837, 0.061).text(3)
        '0.837 ± 0.061'
    """

    mean: float
    sd: float | None = None

    def text(self, decimals: int) -> str:
        """``mean`` or ``mean ± sd``."""
        spread = "" if self.sd is None else f" ± {self.sd:.{decimals}f}"
        return f"{self.mean:.{decimals}f}{spread}"


# region, metric: (cubic, siren)
TABLE_1 = {
    ("global", "mae"): (0.033, 0.031),
    ("global", "rmse"): (0.061, 0.051),
    ("global", "psnr"): (24.83, 26.26),
    ("global", "ssim"): (0.869, 0.893),
    ("tumour", "mae"): (0.084, 0.109),
    ("tumour", "rmse"): (0.123, 0.151),
    ("tumour", "psnr"): (18.58, 17.20),
    ("tumour", "ssim"): (0.779, 0.746),
}

# method, metric, in the tumour
TABLE_2 = {
    ("cubic", "sd_ratio"): 1.07,
    ("siren", "sd_ratio"): 1.10,
    ("truth", "kurtosis"): 4.62,
    ("cubic", "kurtosis"): 3.13,
    ("siren", "kurtosis"): 3.59,
}

# method, metric: a value for each of THRESHOLDS_HU
TABLE_3 = {
    ("cubic", "dsc"): (0.696, 0.697, 0.691, 0.680, 0.662),
    ("cubic", "hd_mm"): (3.04, 3.04, 3.05, 3.08, 3.21),
    ("cubic", "arve"): (0.674, 0.581, 0.517, 0.471, 0.444),
    ("siren", "dsc"): (0.691, 0.684, 0.672, 0.657, 0.635),
    ("siren", "hd_mm"): (3.09, 3.11, 3.15, 3.31, 3.39),
    ("siren", "arve"): (0.582, 0.516, 0.483, 0.471, 0.471),
}
TABLE_3_MORPHOLOGICAL = {
    "dsc": Published(0.837, 0.061),
    "hd_mm": Published(1.98, 0.55),
    "arve": Published(0.039, 0.048),
}

# sd ratio in the tumour: (t, p), p "< .001" as its upper bound
SD_RATIO_TESTS = {
    "cubic against 1": (None, "0.0015"),
    "siren against 1": (None, "< 0.001"),
    "cubic against siren": (-2.217, "0.031"),
}


def published(method: str, region: str, threshold_hu: float | None, metric: str) -> Published | None:
    """What the paper gives for a place in ``metrics.csv`` or ``texture.csv``; None where it gives nothing.

    Args:
        method: as in the file; ``truth`` for the texture of the CT itself.
        region: global, tumour or roi.
        threshold_hu: HU, None for what has no threshold.
        metric: as in the file.

    Example:
        >>> published("siren", "roi", -400, "dsc"), published("linear", "roi", -400, "dsc")
        (Published(mean=0.672, sd=None), None)
    """
    if region == "roi":
        if method == "morphological" and threshold_hu is None:
            return TABLE_3_MORPHOLOGICAL.get(metric)
        if (method, metric) in TABLE_3 and threshold_hu in THRESHOLDS_HU:
            return Published(TABLE_3[method, metric][THRESHOLDS_HU.index(threshold_hu)])
        return None
    if (region, metric) in TABLE_1 and method in ("cubic", "siren"):
        return Published(TABLE_1[region, metric][method == "siren"])
    if region == "tumour" and (method, metric) in TABLE_2:
        return Published(TABLE_2[method, metric])
    return None
