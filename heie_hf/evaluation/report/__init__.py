"""Reports: one HTML page per result, and one for several."""

from .page import write_joint_report, write_single_report

__all__ = ["write_joint_report", "write_single_report"]
