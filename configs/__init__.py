"""Settings: `schema.py` says what there is, each config file builds one `Config`."""
