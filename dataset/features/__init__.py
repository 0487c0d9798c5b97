"""Features of a frozen encoder of frames: computed once, kept on disk, trained on."""
