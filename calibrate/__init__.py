"""Calibration of servecast against real GPUs and engines, and the proof that its results are true.

It measures the operations of one model step on a GPU, fits the curves that the simulator reads, writes them as
a profile folder, and compares simulations with real engines. Only this package needs torch (the `calibrate`
extra).
"""
