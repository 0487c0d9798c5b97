"""Embed any files into a collection, and search it: what embed.py and search.py run."""
