"""Work outside requests: deployments, and keeping house."""
