"""The study: cohort to report, resumable."""

from bundle.study.study import Study

__all__ = ["Study"]
