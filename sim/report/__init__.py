"""Reports: the table on the terminal, the picture, and the files of a run."""

from sim.report.overview import finding, overview
from sim.report.save import FILES, save, save_png, summary_json
from sim.report.terminal import print_report, report

__all__ = ["FILES", "finding", "overview", "print_report", "report", "save", "save_png", "summary_json"]
