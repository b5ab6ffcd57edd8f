"""Reports: one HTML page per result, and one for several."""

from .page import joint_report, single_report

__all__ = ["joint_report", "single_report"]
