"""mlgate: machine-learning platform in which every model has an IAM policy."""

__version__ = "0.1.0"
