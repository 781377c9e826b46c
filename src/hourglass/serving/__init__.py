"""A server for one network: pictures in over HTTP, poses out as JSON, and a page that shows them."""
