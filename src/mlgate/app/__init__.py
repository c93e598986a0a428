"""The composition root: the only room that sees everything.

A file for each process of the server, and for what is done beside it: each builds what that runs, and imports no more.
"""
