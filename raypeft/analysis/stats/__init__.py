"""Statistics on arrays of scores, ranks and predictions; nothing here knows of stores or files."""
