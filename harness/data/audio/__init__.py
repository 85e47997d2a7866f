"""Audio: files of sound as windows of one length, with a label each."""
