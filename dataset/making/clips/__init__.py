"""Make the clips of a dataset out of a folder of videos."""
