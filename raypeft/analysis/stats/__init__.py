"""Statistics on arrays of scores, ranks and predictions; no module here knows stores or files."""
