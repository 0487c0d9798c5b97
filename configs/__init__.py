"""Settings: schema.py declares them, rules.py checks them, renames.py has their old names; the others are configs."""
