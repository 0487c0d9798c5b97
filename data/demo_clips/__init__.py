"""What make_demo_data.py draws and synthesizes with: classes, shapes, instrument sounds."""
