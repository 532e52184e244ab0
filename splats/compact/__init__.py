"""Compact splats: methods that train what their files hold, and finished scenes made small."""
