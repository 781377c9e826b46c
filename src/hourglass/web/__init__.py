"""The page that shows what a network says, shared by the server and the exported page."""
