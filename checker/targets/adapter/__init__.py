"""What a model's owner imports to answer phigate from a process, and a Python, of its own.

The one file here goes on the module path of the servers that phigate starts, so nothing else may
lie beside it: it would hide a module of the model's own.
"""
