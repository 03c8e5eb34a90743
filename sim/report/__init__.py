"""Reports: the table on the terminal, the picture, and the files of a run.

Nothing is imported here, so that a table on the terminal does not wait for the libraries that draw.
"""
