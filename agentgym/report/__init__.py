"""A run directory as one self-contained HTML file: did it learn, how, and which turn got the credit."""

from agentgym.report.page import write_report

__all__ = ["write_report"]
