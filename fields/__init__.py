"""Fields: shapes and what decodes, renders or meshes them."""
