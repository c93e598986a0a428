"""What a process does to itself before it becomes a model or a job; stdlib only, any Python from 3.8 (see launch.py)."""
