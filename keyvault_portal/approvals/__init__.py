"""M-of-N agreement on one exact act."""
