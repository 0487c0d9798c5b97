"""What download_video_audio.py downloads with: failures, yt-dlp, state on disk, workers."""
