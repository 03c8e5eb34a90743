"""The report: one HTML file that needs no network."""

from sim.export.page.page import page, write_page

__all__ = ["page", "write_page"]
