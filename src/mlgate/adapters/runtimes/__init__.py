"""What runs inside a model process. Nothing here imports the rest of mlgate: any environment's Python can run it."""
