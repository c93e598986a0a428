"""Running jobs: processes of strangers' code, each with a way of its own to this server's buckets."""
