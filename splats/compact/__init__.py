"""Compact splats: published methods that train what their files hold."""
