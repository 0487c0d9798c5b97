"""How costs grow with the size of the work: the table, and a module for each of its rows."""
