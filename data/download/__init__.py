"""Download clips from a video site, for data/download_video_audio.py."""
