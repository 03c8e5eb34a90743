"""The reference engine against the simulation: the same requests, once on the device and once in virtual time."""
