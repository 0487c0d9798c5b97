"""Lists of videos: read them in any format, find a file in them, select by class, write them."""
