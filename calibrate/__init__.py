"""Calibration of servecast against real GPUs and engines.

This package will measure the operations of one model step on a GPU, fit the curves that the simulator reads,
and write them as a folder of hwprofiles/. It needs the `calibrate` extra (torch). It holds no code yet: the
profiles that ship come from datasheets and published tables, and say so in every result.
"""
