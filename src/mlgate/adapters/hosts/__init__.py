"""Model hosts: each version's model code in a process of its own, confined, behind a unix socket."""
