"""Results that another program wrote: read, checked, and measured by the tasks of eval.py."""
