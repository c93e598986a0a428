def expire_uploads(tx, blobs, now):
    return None
