"""Sets of points with integer columns as bytes, without paying for an order that has no meaning."""
