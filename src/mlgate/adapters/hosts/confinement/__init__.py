"""What a process does to itself before it becomes a model or a job; stdlib only, Python 3.8 or later (launch.py)."""
